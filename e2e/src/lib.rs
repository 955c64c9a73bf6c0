//! The end-to-end harness: runs the mesh as a user does and judges what it reports.
//!
//! Modules form a list: each uses only those above it.

pub mod demo;

pub mod page;

pub mod yaml;

pub mod guide;
