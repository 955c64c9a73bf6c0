//! One question and one answer, each a line of JSON. May use nothing of this crate.

use serde::{Deserialize, Serialize};

/// What the plug-in asks the node's process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// A handle of the pod's network, as the node sees it.
    pub network: String,
}

/// What it answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// The rules are in place.
    Captured,
    /// The pod has no proxy, or writes its rules itself.
    NotOurs,
    /// They are not in place, for this reason.
    Failed(String),
}

/// Where the two meet, on the node.
pub const SOCKET: &str = "/run/mesh-cni/cni.sock";
/// The plug-in's name, in its folder and in the list of plug-ins.
pub const PLUGIN: &str = "mesh-cni";
