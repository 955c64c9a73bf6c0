//! Ends what a cluster of ours left: processes, mounts, control groups, the network namespace. Also
//! after a crash, when nothing answers any more.
//!
//! Only what is ours is touched: processes whose command names our folder, or that are in our control
//! group. May use `cache`, `daemon` and `step`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::ensure;
use rustix::process::{Pid, Signal, kill_process};

use super::daemon::{GROUP, NETWORK, Own};
use crate::{cache, step};

/// For the daemon to end by itself.
const GRACE: Duration = Duration::from_secs(20);
/// For processes to be gone after they were killed.
const GONE: Duration = Duration::from_secs(10);
const GROUPS: &str = "/sys/fs/cgroup";

/// Ends everything of `own`; images stay, unless containers were left in the daemon's folder.
pub(crate) fn clean(own: &Own) -> anyhow::Result<()> {
    stop_daemon(own);
    kill_rest(&own.state)?;
    unmount(&own.state)?;
    for group in groups() {
        remove_group(&group);
    }
    if PathBuf::from("/run/netns").join(NETWORK).exists() {
        step::run(Command::new("ip").args(["netns", "delete", NETWORK]))?;
    }
    let left = std::fs::read_dir(own.state.join("docker/containers"));
    if left.is_ok_and(|mut left| left.next().is_some()) {
        cache::remove(&own.state.join("docker"))?;
    }
    cache::remove(&own.state.join("run"))?;
    cache::remove(&own.state.join("kubeconfig"))
}

/// True if nothing of `own` runs or is mounted.
pub(crate) fn is_clean(own: &Own) -> bool {
    !PathBuf::from("/run/netns").join(NETWORK).exists() && ours(&own.state).is_empty()
}

fn stop_daemon(own: &Own) {
    let number = std::fs::read_to_string(own.pid_file()).unwrap_or_default();
    let Ok(number) = number.trim().parse::<i32>() else {
        return;
    };
    // The number may be another program's by now.
    if !ours(&own.state).contains(&number) {
        return;
    }
    tell(number, Signal::TERM);
    let limit = Instant::now() + GRACE;
    while ours(&own.state).contains(&number) && Instant::now() < limit {
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn kill_rest(state: &Path) -> anyhow::Result<()> {
    let limit = Instant::now() + GONE;
    loop {
        let left = ours(state);
        if left.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < limit, "processes {left:?} do not end");
        for number in left {
            tell(number, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A process that ended meanwhile needs no signal.
fn tell(number: i32, signal: Signal) {
    if let Some(process) = Pid::from_raw(number) {
        kill_process(process, signal).ok();
    }
}

/// Numbers of the processes that are ours.
fn ours(state: &Path) -> Vec<i32> {
    let mut found = Vec::new();
    for group in groups() {
        found.extend(members(&group));
    }
    let state = state.as_os_str().as_encoded_bytes();
    let me = i32::try_from(std::process::id()).unwrap_or_default();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let number = entry.file_name().to_string_lossy().parse::<i32>();
        let Some(number) = number.ok().filter(|&number| number != me) else {
            continue;
        };
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if is_daemon(&command, state) {
            found.push(number);
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Docker, its containerd, or what holds a container: programs that name a folder of ours.
fn is_daemon(command: &[u8], state: &[u8]) -> bool {
    let program = command.split(|&byte| byte == 0).next().unwrap_or_default();
    let name = program.rsplit(|&byte| byte == b'/').next();
    let daemons: [&[u8]; 4] = [
        b"dockerd",
        b"containerd",
        b"containerd-shim-runc-v2",
        b"docker-proxy",
    ];
    let named = command.windows(state.len()).any(|part| part == state);
    named && name.is_some_and(|name| daemons.contains(&name))
}

/// Our group in each hierarchy.
fn groups() -> Vec<PathBuf> {
    let hierarchies = std::fs::read_dir(GROUPS).into_iter().flatten().flatten();
    hierarchies
        .map(|entry| entry.path())
        .chain([PathBuf::from(GROUPS)])
        .map(|path| path.join(GROUP))
        .filter(|path| path.is_dir())
        .collect()
}

/// Processes of a group and of those below it.
fn members(group: &Path) -> Vec<i32> {
    let listed = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let own = listed.lines().filter_map(|line| line.parse().ok());
    own.chain(below(group).iter().flat_map(|path| members(path)))
        .collect()
}

fn below(group: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(group).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| entry.path()).collect()
}

fn remove_group(group: &Path) {
    for inner in below(group) {
        remove_group(&inner);
    }
    // A group that is still busy for a moment stays: it holds nothing, and is used again.
    std::fs::remove_dir(group).ok();
}

/// Unmounts all below `state`, the last mounted first.
fn unmount(state: &Path) -> anyhow::Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    let ours: Vec<&str> = points
        .filter(|point| Path::new(point).starts_with(state))
        .collect();
    for point in ours.iter().rev() {
        step::run(Command::new("umount").args(["--lazy", point]))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::is_daemon;

    #[test]
    fn only_daemons_that_name_our_folder_are_ours() {
        let state = b"/cache/mesh/cluster".as_slice();
        let is = |command: &[u8]| is_daemon(command, state);
        assert!(is(b"/x/dockerd\0--data-root\0/cache/mesh/cluster/docker\0"));
        assert!(is(
            b"containerd\0--config\0/cache/mesh/cluster/run/exec/c.toml\0"
        ));
        assert!(!is(b"/x/dockerd\0--data-root\0/var/lib/docker\0"));
        assert!(!is(b"vi\0/cache/mesh/cluster/dockerd.log\0"));
        assert!(!is(b""));
    }
}
