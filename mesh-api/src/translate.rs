//! Checked resources to entries: a pure planner over everything that is known.
//!
//! `check` refuses a resource with all its faults; [`Catalog`] holds what passed and answers with
//! entries. May use `resource`, `model` and what is above them; does no I/O.

mod backend;
mod catalog;
mod check;
mod check_authorization;
mod check_balance;
mod check_breaker;
mod check_connection;
mod check_cors;
mod check_extension;
mod check_fault;
mod check_filter;
mod check_grpc;
mod check_health;
mod check_locality;
mod check_match;
mod check_mirror;
mod check_outlier;
mod check_pod;
mod check_policy;
mod check_ratelimit;
mod check_reference;
mod check_route;
mod check_section;
mod check_service;
mod check_session;
mod check_slice;
mod check_status;
mod check_workload;
mod checked;
mod conflict;
mod direct;
mod extension;
mod inbound;
mod index;
mod mesh;
mod outbound;
mod ratelimit;
mod settings;
mod touched;
mod verdict;

pub use catalog::Catalog;
pub use touched::Touched;
pub use verdict::{Condition, Verdict};

use crate::error::Invalid;
use crate::resource::Resource;

/// Everything wrong with a resource by itself, each fault at its field; empty if it is good.
pub fn faults(resource: &Resource) -> Vec<Invalid> {
    check::check(resource).err().unwrap_or_default()
}

#[cfg(all(test, feature = "manifest"))]
mod tests;
