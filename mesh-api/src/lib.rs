//! The mesh's contract: config types, their checked model, wire messages, and every decision as
//! pure functions. No I/O, no async runtime, no client of anything: time, randomness and load are
//! arguments.
//!
//! Data runs one way:
//!
//! ```text
//! YAML, CRD --serde--> resource --check--> model --translate--> entries --wire--> bytes
//! bytes --wire--> entries --compile--> snapshot --decide--> decision
//! ```
//!
//! Modules form a list: each uses only those above it.

pub mod decide;
pub mod error;
pub mod explain;
#[cfg(all(feature = "manifest", any(test, feature = "testing")))]
pub mod fixture;
#[cfg(feature = "manifest")]
pub mod manifest;
pub mod model;
pub mod name;
pub mod resource;
pub mod snapshot;
pub mod token;
pub mod translate;
pub mod wire;
