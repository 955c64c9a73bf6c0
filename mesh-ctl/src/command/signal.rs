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

/// True while a process of this number runs and is not a zombie of ours.
pub(crate) fn is_alive(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
}
