//! The data plane: an I/O shell around `mesh_api::decide`.
//!
//! Modules form a list: each uses only those above it. Start reading at [`exchange`].

pub mod admin;
pub mod attempt;
pub mod bootstrap;
pub mod buffer;
pub mod config;
pub mod detect;
pub mod drain;
pub mod error;
pub mod exchange;
pub mod filter;
pub mod h1;
pub mod identity;
pub mod inbound;
pub mod listener;
pub mod outbound;
pub mod tcp;
pub mod telemetry;
pub mod tunnel;
pub mod upstream;
pub mod worker;
