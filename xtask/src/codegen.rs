//! Generated code: prost messages for mesh-api, tonic stubs for the proxy and the control plane.

use std::path::Path;

use anyhow::Context;

/// Writes the generated files; they are committed, and CI fails when they differ.
pub(crate) fn run() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("workspace root")?;
    let files = protox::compile(["mesh.proto"], [root.join("mesh-api/proto")])?;
    let path = "::mesh_api::wire::generated";
    let out = |place: &str| -> anyhow::Result<std::path::PathBuf> {
        let out = root.join(place);
        std::fs::create_dir_all(&out)?;
        Ok(out)
    };
    tonic_prost_build::configure()
        .build_client(false)
        .build_server(false)
        .emit_rerun_if_changed(false)
        .out_dir(out("mesh-api/src/wire")?)
        .compile_fds(files.clone())?;
    for (place, client) in [
        ("mesh-proxy/src/config", true),
        ("mesh-control/src/serve", false),
    ] {
        tonic_prost_build::configure()
            .build_client(client)
            .build_server(!client)
            .build_transport(false)
            .emit_rerun_if_changed(false)
            .extern_path(".mesh.v1", path)
            .out_dir(out(place)?)
            .compile_fds(files.clone())?;
    }
    for place in [
        "mesh-api/src/wire",
        "mesh-proxy/src/config",
        "mesh-control/src/serve",
    ] {
        std::fs::rename(
            root.join(place).join("mesh.v1.rs"),
            root.join(place).join("generated.rs"),
        )?;
    }
    Ok(())
}
