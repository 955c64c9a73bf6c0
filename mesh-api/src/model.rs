//! Checked meaning: what resources say once every name, reference and value was found good.
//!
//! Every field is of a checked type, so nothing that reads the model checks again. Entries (the unit
//! on the wire) are built from these types; see [`entry`]. May use `error` and `name`.

pub mod affinity;
pub mod authorization;
pub mod backend;
pub mod breaker;
pub mod connection;
pub mod cors;
pub mod destination;
pub mod entry;
pub mod fault;
pub mod grpc;
pub mod health;
pub mod inbound;
pub mod locality;
pub mod mesh;
pub mod mirror;
pub mod narrowing;
pub mod origin;
pub mod outlier;
pub mod path;
pub mod policy;
pub mod ratelimit;
pub mod route;
pub mod share;
pub mod workload;
