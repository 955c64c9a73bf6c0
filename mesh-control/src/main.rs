//! The control plane's binary.

fn main() {}
