//! Prints a page of `docs/reference` from the code: `config`, or the rows of `defaults`.
//!
//! `cargo run -p mesh-api --example reference -- config`. The schemas tell the fields; what is refused is
//! told by the checks themselves, which are asked about every field.

#![allow(clippy::print_stdout, reason = "an example shows what it found")]

mod config;
mod defaults;
mod kinds;
mod probe;

fn main() -> Result<(), String> {
    match std::env::args().nth(1).as_deref() {
        Some("config") => print!("{}", config::page()),
        Some("defaults") => print!("{}", defaults::rows()),
        _ => return Err("usage: reference config|defaults".to_owned()),
    }
    Ok(())
}
