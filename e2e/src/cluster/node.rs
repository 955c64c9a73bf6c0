//! Processes on the nodes: a node is a container of this machine, so what runs there is seen here.
//!
//! May use nothing of this crate.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use serde_json::Value;

/// The resident memory of a pod's program, in bytes.
///
/// # Errors
///
/// If no such process runs in that pod, or the nodes are not on this machine.
pub fn resident(pod: &Value, program: &str) -> anyhow::Result<u64> {
    let uid = pod["metadata"]["uid"].as_str().context("no uid")?;
    for entry in fs::read_dir("/proc")? {
        let at = entry?.path();
        if is_of(&at, uid, program) {
            return memory_of(&at);
        }
    }
    bail!("no {program} of pod {uid} among this machine's processes")
}

/// The names of the files in a folder of each node, sorted.
///
/// # Errors
///
/// If no node is on this machine, or one has no such folder.
pub fn files(folder: &str) -> anyhow::Result<Vec<Vec<String>>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let at = entry?.path();
        // Each node has one, of its own file system.
        if fs::read_to_string(at.join("comm")).is_ok_and(|name| name.trim() == "kubelet") {
            let place = at.join("root").join(folder.trim_start_matches('/'));
            found.push(names(&place)?);
        }
    }
    ensure!(
        !found.is_empty(),
        "no kubelet among this machine's processes"
    );
    found.sort();
    Ok(found)
}

fn names(folder: &Path) -> anyhow::Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let name = |entry: std::io::Result<fs::DirEntry>| {
        Ok(entry?.file_name().to_string_lossy().into_owned())
    };
    let mut names = entries.map(name).collect::<anyhow::Result<Vec<String>>>()?;
    names.sort();
    Ok(names)
}

fn is_of(process: &Path, uid: &str, program: &str) -> bool {
    // One that ends meanwhile is none.
    let read = |name: &str| fs::read_to_string(process.join(name)).unwrap_or_default();
    let groups = read("cgroup");
    // Groups of systemd have underscores for dashes.
    let named = groups.contains(uid) || groups.contains(&uid.replace('-', "_"));
    named && read("comm").trim() == program
}

fn memory_of(process: &Path) -> anyhow::Result<u64> {
    let status = fs::read_to_string(process.join("status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.context("no VmRSS")?.trim().trim_end_matches(" kB");
    Ok(kib.parse::<u64>()? * 1024)
}
