//! Generated code: prost messages for mesh-api, tonic stubs for the proxy and the control plane, and
//! the pages of `docs/reference` that code can tell better than people.
//!
//! It is committed, so that a build needs no generator, and `codegen --check` compares it.
//! May use `source` and `step`.

mod metrics;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::step;

/// One generated file of the repository and its text.
struct Generated {
    /// Relative to the workspace's root.
    path: PathBuf,
    text: String,
}

/// Writes the generated files, or with `check` fails where one differs.
pub(crate) fn run(check: bool) -> anyhow::Result<()> {
    let mut differing = Vec::new();
    for file in code()?.into_iter().chain(pages()?) {
        let path = step::root().join(&file.path);
        if std::fs::read_to_string(&path).unwrap_or_default() == file.text {
            continue;
        }
        differing.push(file.path.display().to_string());
        if !check {
            std::fs::write(&path, file.text).with_context(|| path.display().to_string())?;
        }
    }
    match (check, differing.is_empty()) {
        (_, true) => println!("generated code is up to date"),
        (false, false) => println!("written: {}", differing.join(", ")),
        (true, false) => bail!("{} differ: run cargo xtask codegen", differing.join(", ")),
    }
    Ok(())
}

/// The pages of `docs/reference` that are generated.
fn pages() -> anyhow::Result<Vec<Generated>> {
    Ok(vec![Generated {
        path: PathBuf::from("docs/reference/metrics.md"),
        text: metrics::page()?,
    }])
}

/// Messages and stubs.
fn code() -> anyhow::Result<Vec<Generated>> {
    let files = compile("mesh-api/proto", "mesh.proto")?;
    let demo = compile("mesh-ctl/proto", "pricing.proto")?;
    let messages = tonic_prost_build::configure()
        .build_client(false)
        .build_server(false);
    let client = stubs().build_client(true).build_server(false);
    let server = stubs().build_client(false).build_server(true);
    let both = tonic_prost_build::configure().build_transport(false);
    [
        ("mesh-api/src/wire", "mesh.v1", &files, messages),
        ("mesh-proxy/src/config", "mesh.v1", &files, client),
        ("mesh-control/src/serve", "mesh.v1", &files, server),
        ("mesh-ctl/src/demo/pricing", "mesh.demo.v1", &demo, both),
    ]
    .into_iter()
    .map(|(folder, package, files, builder)| {
        let out = step::target().join("codegen").join(folder);
        std::fs::create_dir_all(&out)?;
        builder
            .emit_rerun_if_changed(false)
            .out_dir(&out)
            .compile_fds(files.clone())?;
        Ok(Generated {
            path: Path::new(folder).join("generated.rs"),
            text: std::fs::read_to_string(out.join(format!("{package}.rs")))?,
        })
    })
    .collect()
}

fn compile(folder: &str, file: &str) -> anyhow::Result<tonic_prost_build::FileDescriptorSet> {
    Ok(protox::compile([file], [step::root().join(folder)])?)
}

/// Stubs use the messages of mesh-api, and the caller brings the transport.
fn stubs() -> tonic_prost_build::Builder {
    tonic_prost_build::configure()
        .build_transport(false)
        .extern_path(".mesh.v1", "::mesh_api::wire::generated")
}
