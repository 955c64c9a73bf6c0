//! The control plane's binary: `mesh-control [run] [BOOTSTRAP.json]`.

use std::path::PathBuf;
use std::process::ExitCode;

use mesh_control::bootstrap::{BOOTSTRAP_VARIABLE, Bootstrap};

fn main() -> ExitCode {
    mesh_control::abort_on_panic();
    mesh_control::telemetry::install();
    let mut arguments = std::env::args_os().skip(1).peekable();
    // `run` may stand before the file.
    arguments.next_if(|argument| argument == "run");
    let path = arguments
        .next()
        .or_else(|| std::env::var_os(BOOTSTRAP_VARIABLE))
        .map_or_else(|| PathBuf::from("mesh-control.json"), PathBuf::from);
    let outcome = Bootstrap::read(&path).and_then(mesh_control::run_until_signal);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", error.chain());
            ExitCode::FAILURE
        }
    }
}
