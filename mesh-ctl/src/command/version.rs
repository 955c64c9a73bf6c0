//! `meshctl version`: what this binary is.

use serde::Serialize;

use crate::render::{Output, Rows, show};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Build {
    version: &'static str,
    rust: &'static str,
    system: &'static str,
    architecture: &'static str,
}

/// Prints the version of this binary, which carries control plane and data plane as well.
pub(crate) fn run(output: Output) -> anyhow::Result<u8> {
    let build = Build {
        version: mesh_api::version(),
        rust: env!("CARGO_PKG_RUST_VERSION"),
        system: std::env::consts::OS,
        architecture: std::env::consts::ARCH,
    };
    show(output, &build, || {
        let mut rows = Rows::new(&["VERSION", "RUST", "SYSTEM"]);
        rows.push([
            build.version.to_owned(),
            format!(">= {}", build.rust),
            format!("{}/{}", build.system, build.architecture),
        ]);
        rows.to_text()
    })?;
    Ok(0)
}
