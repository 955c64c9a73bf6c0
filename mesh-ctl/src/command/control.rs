//! `meshctl control`: the control plane in the foreground.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::ensure;
use clap::Args;

use crate::command::signal;
use crate::source::state::StateArg;

/// Arguments of `meshctl control`.
#[derive(Debug, Args)]
pub(crate) struct Control {
    /// Folder of manifests (*.yaml); changes are applied as they happen.
    #[arg(long, value_name = "DIR")]
    manifests: PathBuf,
    /// Where proxies connect; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:15012")]
    listen: SocketAddr,
    /// Path of the admin socket [default: inside the state folder].
    #[arg(long, value_name = "PATH")]
    admin_socket: Option<PathBuf>,
    /// End when standard input closes: for parents that must leave no process behind.
    #[arg(long)]
    exit_with_parent: bool,
}

/// Runs until told to stop.
pub(crate) async fn run(control: Control, state: &StateArg) -> anyhow::Result<u8> {
    ensure!(
        control.manifests.is_dir(),
        "{} is not a folder; create it or name another with --manifests",
        control.manifests.display()
    );
    let state = state.folder()?;
    let inside = state.prepare_admin_socket()?;
    let mut bootstrap = mesh_control::bootstrap::Bootstrap::new(control.manifests, state.control());
    bootstrap.listen = control.listen;
    bootstrap.admin_socket = control.admin_socket.unwrap_or(inside);
    bootstrap.check()?;
    let with_parent = control.exit_with_parent;
    let stop = async move {
        tokio::select! {
            _ = signal::stop() => {}
            () = signal::parent_gone(), if with_parent => {}
        }
    };
    mesh_control::telemetry::install();
    mesh_control::abort_on_panic();
    Box::pin(mesh_control::run(bootstrap, None, stop)).await?;
    Ok(0)
}
