//! A whole mesh on this machine: apps, load and checks. May use `source`, `render`, `command`.

pub(crate) mod digest;
pub(crate) mod pricing;
pub(crate) mod socket;

pub(crate) mod app;
pub(crate) mod check;
pub(crate) mod child;
pub(crate) mod generate;
pub(crate) mod mesh;
pub(crate) mod show;
