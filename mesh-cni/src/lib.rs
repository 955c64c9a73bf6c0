//! The mesh's CNI plug-in, and how it talks with the process behind it (`mesh-proxy cni-node`).
//!
//! A program of its own, so that it can be linked without shared libraries: the container runtime runs it
//! on the node, whose C library may be another or older than that of our images, and one that does not
//! start would hold up every pod of the node, of the mesh or not.

mod plugin;
mod question;

pub use plugin::run;
pub use question::{Answer, PLUGIN, Question, SOCKET};
