//! What tells a process of ours to end: a signal, or its standard input closing with its parent.

use std::io::Read;

use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// Waits for SIGINT or SIGTERM. A system without signals waits for ever.
pub(crate) async fn stop() -> Signal {
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => Signal::INT,
        _ = terminate.recv() => Signal::TERM,
    }
}

/// Waits until standard input ends: our parent holds the other end of the pipe.
pub(crate) async fn parent_gone() {
    let (gone, wait) = oneshot::channel::<()>();
    // A read of standard input cannot be cancelled, so it has a thread that ends with the process.
    std::thread::spawn(move || {
        let mut sink = [0; 64];
        let mut input = std::io::stdin().lock();
        while matches!(input.read(&mut sink), Ok(count) if count > 0) {}
        drop(gone);
    });
    wait.await.ok();
}

/// Sends `signal` to a process; one that is gone is no error.
pub(crate) fn send(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        kill_process(pid, signal).ok();
    }
}

/// True while a process of this number runs; one that ended and is not waited for yet does not.
pub(crate) fn is_alive(pid: u32) -> bool {
    let known = i32::try_from(pid).ok().and_then(Pid::from_raw);
    known.is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok()) && !is_zombie(pid)
}

/// Only Linux tells: elsewhere a zombie counts as alive.
fn is_zombie(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name before the state stands in parentheses and may hold anything.
    stat.rsplit(") ")
        .next()
        .is_some_and(|rest| rest.starts_with('Z'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_ended_is_not_alive() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        if cfg!(target_os = "linux") {
            while is_alive(child.id()) {
                std::thread::yield_now();
            }
        }
        child.wait().unwrap();
        assert!(!is_alive(child.id()));
        assert!(is_alive(std::process::id()));
    }
}
