//! Capture without an init container: the process on each node that stands behind the CNI plug-in.
//!
//! The runtime calls the plug-in (`mesh-cni`) when it has made a pod's network. The plug-in asks the node's
//! process, which looks the pod up and writes the rules into its network. The plug-in holds nothing up:
//! where it is not answered, the pod starts, its proxy finds that nothing is redirected and does not let
//! the app start, and the node's process writes the rules as soon as it sees the pod. May use `capture`.

mod chain;
mod kubernetes;
mod node;
mod place;
mod pods;

pub(crate) use node::run as serve;
