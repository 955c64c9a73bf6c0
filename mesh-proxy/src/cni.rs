//! Capture without an init container: a CNI plug-in, and the process on each node that stands behind it.
//!
//! The runtime calls the plug-in when it has made a pod's network. The plug-in asks the node's process,
//! which looks the pod up and writes the rules into its network. The plug-in holds nothing up: where
//! it is not answered, the pod starts, its proxy finds that nothing is redirected and does not let the app
//! start, and the node's process writes the rules as soon as it sees the pod. May use `capture`.

mod chain;
mod kubernetes;
mod node;
mod plugin;
mod pods;

pub(crate) use node::run as serve;
pub(crate) use plugin::run as plug_in;

use serde::{Deserialize, Serialize};

/// What the plug-in asks the node's process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Question {
    namespace: String,
    name: String,
    /// A handle of the pod's network, as the node sees it.
    network: String,
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Answer {
    /// The rules are in place.
    Captured,
    /// The pod has no proxy, or writes its rules itself.
    NotOurs,
    /// They are not in place, for this reason.
    Failed(String),
}

/// Where the two meet, on the node.
const SOCKET: &str = "/run/mesh-cni/cni.sock";
/// The plug-in's name, in its folder and in the list of plug-ins.
const PLUGIN: &str = "mesh-cni";
