//! The CNI plug-in as the container runtime starts it (CNI specification 1.1.0, section 2).

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Ok(command) = std::env::var("CNI_COMMAND") {
        return mesh_cni::run(&command);
    }
    let text = "mesh-cni is run by a container runtime, which sets CNI_COMMAND; \
                meshctl install --cni puts it on the nodes\n";
    // There is nobody else to tell.
    std::io::stderr()
        .write_all(text.as_bytes())
        .unwrap_or_default();
    ExitCode::FAILURE
}
