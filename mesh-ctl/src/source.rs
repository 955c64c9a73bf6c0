//! Where commands read from: the state folder, the control plane on this machine or in a cluster,
//! manifests.
//! May use nothing else of this crate.

pub(crate) mod address;
pub(crate) mod admin;
pub(crate) mod cluster;
pub(crate) mod files;
pub(crate) mod http;
pub(crate) mod json;
pub(crate) mod origin;
pub(crate) mod proxy;
pub(crate) mod state;
