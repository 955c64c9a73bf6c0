//! The control plane: an I/O shell around `mesh_api::translate`.
//!
//! Modules form a list: each uses only those above it.

pub mod admin;
pub mod bootstrap;
pub mod ca;
pub mod error;
pub mod index;
pub mod lease;
pub mod publish;
pub mod serve;
pub mod status;
pub mod telemetry;
pub mod watch;
