//! Skeleton.

#[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated from proto/mesh.proto")]
#[rustfmt::skip]
pub mod generated;
