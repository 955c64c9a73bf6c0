//! The data plane's binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    mesh_proxy::command::run(std::env::args_os().skip(1))
}
