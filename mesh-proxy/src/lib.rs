//! The data plane: an I/O shell around `mesh_api::decide`.
//!
//! Modules form a list: each uses only those above it. Start reading at [`exchange`].

pub mod error;
pub mod telemetry;

pub mod drain;

pub mod capture;

pub mod bootstrap;
pub mod identity;

pub mod config;

pub mod buffer;
mod copy;
pub mod h1;
pub mod h2;
mod idle;
pub mod rate;
pub mod tunnel;
pub mod upstream;

pub mod filter;
pub mod leg;

pub mod context;
pub mod relay;

pub mod attempt;
pub mod exchange;
pub mod tcp;

pub mod detect;
pub mod inbound;
pub mod outbound;
pub mod worker;

pub mod listener;
mod memory;

mod checker;
mod probe;

pub mod admin;
mod run;

mod cni;

pub mod command;

#[cfg(test)]
mod tests;

pub use run::{StartError, run};
