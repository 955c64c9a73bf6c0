//! Generated code: prost messages for mesh-api, tonic stubs for the proxy and the control plane, and
//! the pages of `docs/reference` that code can tell better than people, and the Helm chart.
//!
//! It is committed, so that a build needs no generator, and `codegen --check` compares it.
//! May use `source` and `step`.

mod chart;
pub(crate) mod errors;
mod metrics;
mod programs;

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
    // Code first: programs that print pages are built from it.
    let mut differing = settle(code()?, check)?;
    differing.extend(settle(pages()?, check)?);
    differing.extend(settle(chart::files()?, check)?);
    match (check, differing.is_empty()) {
        (_, true) => println!("generated code is up to date"),
        (false, false) => println!("written: {}", differing.join(", ")),
        (true, false) => bail!("{} differ: run cargo xtask codegen", differing.join(", ")),
    }
    Ok(())
}

/// The files that differ, written unless they are only checked.
fn settle(files: Vec<Generated>, check: bool) -> anyhow::Result<Vec<String>> {
    let mut differing = Vec::new();
    for file in files {
        let path = step::root().join(&file.path);
        if std::fs::read_to_string(&path).unwrap_or_default() == file.text {
            continue;
        }
        differing.push(file.path.display().to_string());
        if !check {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
            }
            std::fs::write(&path, file.text).with_context(|| path.display().to_string())?;
        }
    }
    Ok(differing)
}

/// The pages of `docs/reference`.
fn pages() -> anyhow::Result<Vec<Generated>> {
    let page = |name: &str, text: anyhow::Result<String>| {
        Ok(Generated {
            path: Path::new("docs/reference").join(name),
            text: text.with_context(|| name.to_owned())?,
        })
    };
    [
        page("metrics.md", metrics::page()),
        page(
            "mesh-error.md",
            programs::codes().and_then(|codes| errors::page(&codes)),
        ),
        page("config.md", programs::config()),
        page("defaults.md", programs::defaults()),
        page("cli.md", programs::cli()),
    ]
    .into_iter()
    .collect()
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
