//! `meshctl`: runs, inspects and explains the mesh.
//!
//! Modules form a list: each uses only those above it. `source` reads what a command needs,
//! `render` prints what it found, `install` is the mesh as objects of a cluster,
//! `adoption` finds what a strict mesh would break, `command` holds one file per subcommand, `demo` a whole mesh on
//! this machine, `cli` the arguments whose help text is the reference.

mod source;

mod render;

mod install;

mod adoption;

mod command;

mod demo;

mod cli;

fn main() -> std::process::ExitCode {
    cli::run()
}
