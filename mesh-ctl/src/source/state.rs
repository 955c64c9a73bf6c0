//! The state folder: one mesh on this machine, everything it writes inside it.

use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use mesh_api::name::ObjectName;
use serde::{Deserialize, Serialize};

/// Longest path of a Unix socket taken everywhere, in bytes (`sun_path` is 104 to 108).
const MAX_SOCKET_PATH: usize = 100;

/// The state folder where none is named.
pub(crate) const DEFAULT: &str = ".mesh";

/// The argument `--state`, shared by every command that talks to a mesh on this machine.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct StateArg {
    /// State folder of a mesh on this machine: its CA, last good config, sockets and logs
    /// [default: .mesh].
    #[arg(
        long,
        value_name = "DIR",
        env = "MESH_STATE",
        global = true,
        help_heading = "Options of every command"
    )]
    pub(crate) state: Option<PathBuf>,
}

impl StateArg {
    /// The folder, absolute, whether or not it exists.
    pub(crate) fn folder(&self) -> anyhow::Result<StateFolder> {
        StateFolder::new(self.state.as_deref().unwrap_or(Path::new(DEFAULT)))
    }
}

/// The layout of a state folder.
#[derive(Clone, Debug)]
pub(crate) struct StateFolder {
    root: PathBuf,
}

/// What `meshctl run` writes for tools: the processes of one workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pids {
    /// The supervisor.
    pub(crate) run: u32,
    /// Its sidecar; 0 between two starts.
    pub(crate) proxy: u32,
    /// The app; `None` for a workload without one.
    pub(crate) app: Option<u32>,
}

impl StateFolder {
    /// The folder at `path`, made absolute.
    pub(crate) fn new(path: &Path) -> anyhow::Result<Self> {
        let root = std::path::absolute(path)
            .with_context(|| format!("{} is no usable path", path.display()))?;
        Ok(Self { root })
    }

    /// The folder itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// What the control plane keeps: keys, certificates, registrations.
    pub(crate) fn control(&self) -> PathBuf {
        self.root.join("control")
    }

    /// Manifests that the demo writes.
    pub(crate) fn manifests(&self) -> PathBuf {
        self.root.join("manifests")
    }

    /// What one workload keeps: bootstrap, last good config, logs, `pids.json`.
    pub(crate) fn workload(&self, name: &ObjectName) -> PathBuf {
        self.root.join(format!("{}.{}", name.namespace, name.name))
    }

    /// Every workload that has been run with this folder, by the folders left.
    pub(crate) fn workloads(&self) -> Vec<ObjectName> {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.path().join("bootstrap.json").exists());
        let names = folders.filter_map(|entry| {
            let file = entry.file_name();
            let (namespace, name) = file.to_str()?.split_once('.')?;
            format!("{namespace}/{name}").parse().ok()
        });
        let mut names: Vec<ObjectName> = names.collect();
        names.sort_unstable();
        names
    }

    /// Creates `folder` and its parents for this user alone.
    #[expect(
        clippy::unused_self,
        reason = "folders are made in the name of a state folder"
    )]
    pub(crate) fn create(&self, folder: &Path) -> anyhow::Result<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .with_context(|| format!("cannot create {}", folder.display()))
    }

    /// Creates `folder`, and refuses one that others own or may enter: its place is shared with them.
    pub(crate) fn create_guarded(&self, folder: &Path) -> anyhow::Result<()> {
        self.create(folder)?;
        let found = fs::symlink_metadata(folder)?;
        let own = rustix::process::geteuid().as_raw();
        ensure!(
            found.is_dir() && found.uid() == own && found.mode() % 0o100 == 0,
            "{} is not a folder of this user alone; remove it",
            folder.display()
        );
        Ok(())
    }

    /// Where a workload's key and its admin socket live: in memory where the system offers that,
    /// gone when the workload ends.
    pub(crate) fn memory(&self, name: &ObjectName) -> PathBuf {
        let key = hash(format!("{} {name}", self.root.display()).as_bytes());
        let shared = Path::new("/dev/shm");
        match std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from) {
            Some(runtime) if runtime.is_dir() => runtime.join(format!("mesh-{key:016x}")),
            _ if shared.is_dir() => shared.join(format!("mesh-{key:016x}")),
            _ => self.workload(name).join("identity"),
        }
    }

    /// The control plane's admin socket. A path too long for a socket is moved to the runtime
    /// directory, and a pointer file in the state folder says where.
    pub(crate) fn admin_socket(&self) -> PathBuf {
        let inside = self.root.join("control.sock");
        if inside.as_os_str().as_bytes().len() <= MAX_SOCKET_PATH {
            return inside;
        }
        match fs::read_to_string(self.pointer()) {
            Ok(path) => PathBuf::from(path.trim()),
            Err(_) => self.outside_socket(),
        }
    }

    /// Makes the folder and, where the admin socket lies outside it, the pointer to it.
    pub(crate) fn prepare_admin_socket(&self) -> anyhow::Result<PathBuf> {
        self.create(&self.root)?;
        let socket = self.admin_socket();
        if !socket.starts_with(&self.root) {
            write_private(&self.pointer(), socket.as_os_str().as_bytes())?;
        }
        Ok(socket)
    }

    /// The processes of a workload that runs.
    pub(crate) fn pids(&self, name: &ObjectName) -> anyhow::Result<Pids> {
        let path = self.workload(name).join("pids.json");
        let text = fs::read(&path).with_context(|| {
            format!(
                "cannot read {}: is {name} started by `meshctl run` with this --state?",
                path.display()
            )
        })?;
        serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))
    }

    fn pointer(&self) -> PathBuf {
        self.root.join("control.sock.path")
    }

    fn outside_socket(&self) -> PathBuf {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR")
            .map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
        runtime.join(format!(
            "mesh-{:016x}.sock",
            hash(self.root.as_os_str().as_bytes())
        ))
    }
}

/// Writes `bytes` to `path` in one step, readable by this user alone.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let context = || format!("cannot write {}", path.display());
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let fresh = PathBuf::from(name);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)
        .with_context(context)?;
    file.write_all(bytes).with_context(context)?;
    fs::rename(&fresh, path).with_context(context)
}

/// A stable hash (FNV-1a), for names that must come out the same at every start.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_state_path_moves_the_socket_and_leaves_a_pointer() {
        let folder = tempfile::tempdir().unwrap();
        let short = StateFolder::new(Path::new("/s")).unwrap();
        assert_eq!(short.admin_socket(), Path::new("/s/control.sock"));
        let long = StateFolder::new(&folder.path().join("x".repeat(120))).unwrap();
        let socket = long.prepare_admin_socket().unwrap();
        assert!(socket.as_os_str().len() <= MAX_SOCKET_PATH);
        assert!(!socket.starts_with(long.root()));
        assert_eq!(long.admin_socket(), socket);
        assert!(long.pointer().exists());
    }
}
