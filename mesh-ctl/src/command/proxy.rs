//! `meshctl proxy`: a data plane in the foreground.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use mesh_proxy::bootstrap::Bootstrap;

use crate::command::signal;

/// Arguments of `meshctl proxy`.
#[derive(Debug, Args)]
pub(crate) struct Proxy {
    /// Bootstrap file (JSON), as `meshctl run` writes it.
    #[arg(long, value_name = "FILE")]
    bootstrap: PathBuf,
    /// End when standard input closes: for parents that must leave no process behind.
    #[arg(long)]
    exit_with_parent: bool,
}

/// Runs until told to stop, then drains.
pub(crate) async fn run(proxy: Proxy) -> anyhow::Result<u8> {
    mesh_control::telemetry::install();
    let path = proxy.bootstrap.display().to_string();
    let bootstrap = Bootstrap::load(&proxy.bootstrap).with_context(|| path)?;
    let stop = async move {
        tokio::select! {
            _ = signal::stop() => {}
            () = signal::parent_gone(), if proxy.exit_with_parent => {}
        }
    };
    Box::pin(mesh_proxy::run(bootstrap, stop)).await?;
    Ok(0)
}
