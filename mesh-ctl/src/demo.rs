//! A whole mesh on this machine, or its apps in a cluster that has one: apps, load and checks. May use `source`, `render`, `command`.

pub(crate) mod digest;
pub(crate) mod pricing;
pub(crate) mod socket;

pub(crate) mod app;
pub(crate) mod check;
pub(crate) mod child;
pub(crate) mod generate;
pub(crate) mod mesh;
pub(crate) mod show;

pub(crate) mod kubernetes;
