//! The data plane's binary: `mesh-proxy run BOOTSTRAP.json` or `mesh-proxy admin PATH SOCKET`.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["run", bootstrap] => mesh_proxy::main_with(Path::new(bootstrap)),
        _ => mesh_proxy::usage(),
    }
}
