//! `meshctl version`: what this binary is.

use serde::Serialize;

use crate::render::{Output, Rows, show};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    version: &'static str,
    rust: &'static str,
    system: &'static str,
    architecture: &'static str,
}

/// Prints the version of this binary, which carries control plane and data plane as well.
pub(crate) fn run(output: Output) -> anyhow::Result<u8> {
    let version = Version {
        version: env!("CARGO_PKG_VERSION"),
        rust: env!("CARGO_PKG_RUST_VERSION"),
        system: std::env::consts::OS,
        architecture: std::env::consts::ARCH,
    };
    show(output, &version, || {
        let mut rows = Rows::new(&["VERSION", "RUST", "SYSTEM"]);
        rows.push([
            version.version.to_owned(),
            format!(">= {}", version.rust),
            format!("{}/{}", version.system, version.architecture),
        ]);
        rows.to_text()
    })?;
    Ok(0)
}
