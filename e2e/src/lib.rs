//! The end-to-end harness: runs the mesh as a user does and judges what it does to programs by others.
//!
//! Modules form a list: each uses only those above it.

#![allow(clippy::print_stdout, reason = "cases tell their figures")]

pub mod demo;

pub mod namespace;

pub mod page;

pub mod yaml;

pub mod guide;

pub mod binomial;
pub mod figure;
pub mod process;
pub mod tool;

pub mod mesh;

pub mod apiserver;
pub mod replica;

pub mod cluster;

pub mod envoy;
pub mod frame;

pub mod backend;
pub mod load;

pub mod flood;

/// The value of a tool, or the end of a case that cannot run without it.
#[macro_export]
macro_rules! need {
    ($case:expr, $tool:expr) => {
        match $tool {
            Ok(tool) => tool,
            Err(error) => return $crate::figure::skip($case, &error),
        }
    };
}
