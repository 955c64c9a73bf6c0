//! Prints a page of `docs/reference` from the code: `config`, the rows of `defaults`, or the gRPC `codes` of
//! refusals by status.
//!
//! `cargo run -p mesh-api --example reference -- config`. The schemas tell the fields; what is refused is
//! told by the checks themselves, which are asked about every field.

#![allow(clippy::print_stdout, reason = "an example shows what it found")]

mod config;
mod defaults;
mod kinds;
mod probe;

use mesh_api::decide::grpc::of_refusal;

fn main() -> Result<(), String> {
    match std::env::args().nth(1).as_deref() {
        Some("config") => print!("{}", config::page()),
        Some("defaults") => print!("{}", defaults::rows()),
        Some("codes") => {
            for status in 400..600 {
                println!("{status} {}", of_refusal(status).as_str());
            }
        }
        _ => return Err("usage: reference config|defaults|codes".to_owned()),
    }
    Ok(())
}
