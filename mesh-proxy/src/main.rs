//! The data plane's binary: `mesh-proxy run BOOTSTRAP.json`.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use mesh_proxy::bootstrap::Bootstrap;
use tracing_subscriber::EnvFilter;

const USAGE: &str = "usage: mesh-proxy run BOOTSTRAP.json | mesh-proxy --version";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["run", path] => match run(Path::new(path)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => say(
                &format!("mesh-proxy: {}", chain(error.as_ref())),
                ExitCode::FAILURE,
            ),
        },
        ["--version"] => say(
            concat!("mesh-proxy ", env!("CARGO_PKG_VERSION")),
            ExitCode::SUCCESS,
        ),
        _ => say(USAGE, ExitCode::from(2)),
    }
}

/// Runs the proxy until SIGTERM or SIGINT, on this thread's runtime.
fn run(path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let filter = EnvFilter::try_from_env("MESH_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let bootstrap = Bootstrap::load(path)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let shutdown = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        };
        mesh_proxy::run(bootstrap, shutdown).await?;
        Ok(())
    })
}

/// The error and what caused it, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}

fn say(text: &str, code: ExitCode) -> ExitCode {
    // A closed standard error leaves nobody to tell.
    writeln!(std::io::stderr(), "{text}").map_or(ExitCode::FAILURE, |()| code)
}
