//! Which mesh a command asks: one on this machine, in a state folder, or one in a cluster.
//!
//! In this order: an argument that names a cluster; an argument or `MESH_STATE` that names a state
//! folder; the folder `.mesh` if it is there; the cluster of the kubeconfig if there is one.

use std::path::PathBuf;
use std::sync::Arc;

use crate::source::admin::Admin;
use crate::source::cluster::ClusterArg;
use crate::source::cluster::remote::Remote;
use crate::source::state::{StateArg, StateFolder};

/// The arguments that choose, of every command.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Origin {
    /// A mesh on this machine.
    #[command(flatten)]
    pub(crate) state: StateArg,
    /// A mesh in a cluster.
    #[command(flatten)]
    pub(crate) cluster: ClusterArg,
}

/// What was chosen.
pub(crate) enum Mesh {
    /// The mesh of a state folder.
    Folder(StateFolder),
    /// The mesh of a cluster.
    Cluster(Arc<Remote>),
}

/// What there is to choose from.
#[derive(Clone, Copy, Debug, Default)]
struct Signs {
    names_cluster: bool,
    names_folder: bool,
    has_folder: bool,
    has_kubeconfig: bool,
}

impl Origin {
    /// The mesh that is meant.
    pub(crate) async fn mesh(&self) -> anyhow::Result<Mesh> {
        let folder = self.state.folder()?;
        let signs = Signs {
            names_cluster: self.cluster.is_given(),
            names_folder: self.state.state.is_some(),
            has_folder: folder.root().is_dir(),
            has_kubeconfig: has_kubeconfig(),
        };
        if !signs.is_cluster() {
            return Ok(Mesh::Folder(folder));
        }
        let remote = Remote::connect(&self.cluster).await?;
        Ok(Mesh::Cluster(Arc::new(remote)))
    }

    /// The control plane of the mesh that is meant.
    pub(crate) async fn admin(&self) -> anyhow::Result<Admin> {
        Ok(self.mesh().await?.admin())
    }
}

impl Mesh {
    /// Its control plane.
    pub(crate) fn admin(&self) -> Admin {
        match self {
            Self::Folder(folder) => Admin::of(folder),
            Self::Cluster(remote) => Admin::remote(Arc::clone(remote)),
        }
    }
}

impl Signs {
    fn is_cluster(self) -> bool {
        if self.names_cluster || self.names_folder {
            return self.names_cluster;
        }
        !self.has_folder && self.has_kubeconfig
    }
}

fn has_kubeconfig() -> bool {
    let named = std::env::var_os("KUBECONFIG").filter(|path| !path.is_empty());
    let home = std::env::var_os("HOME").map(PathBuf::from);
    named.is_some() || home.is_some_and(|home| home.join(".kube").join("config").is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_go_first_then_the_folder_that_is_there() {
        let signs = |names_cluster, names_folder, has_folder, has_kubeconfig| Signs {
            names_cluster,
            names_folder,
            has_folder,
            has_kubeconfig,
        };
        for (signs, expected) in [
            (signs(true, true, true, false), true),
            (signs(false, true, false, true), false),
            (signs(false, false, true, true), false),
            (signs(false, false, false, true), true),
            (signs(false, false, false, false), false),
        ] {
            assert_eq!(signs.is_cluster(), expected, "{signs:?}");
        }
    }
}
