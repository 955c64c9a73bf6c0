//! The data plane's binary.

fn main() {}
