//! Ends what moves no byte for too long.
//!
//! Without a limit it costs nothing: no timer is made and no clock read. May use nothing of this crate.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Time since the last byte, and its limit.
pub(crate) struct Idle(Option<Running>);

struct Running {
    limit: Duration,
    since: Instant,
    /// Made when something is waited for, and set anew only when it goes off.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Idle {
    /// Begins now.
    pub(crate) fn new(limit: Option<Duration>) -> Self {
        Self(limit.map(|limit| Running {
            limit,
            since: Instant::now(),
            timer: None,
        }))
    }

    /// Ready once nothing moved for the limit. To be asked before each wait: `moved` if something did
    /// since the last time.
    pub(crate) fn poll(&mut self, moved: bool, task: &mut Context<'_>) -> Poll<()> {
        let Some(running) = &mut self.0 else {
            return Poll::Pending;
        };
        if moved {
            running.since = Instant::now();
        }
        let due = running.since + running.limit;
        let timer = running
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(due)));
        while timer.as_mut().poll(task).is_ready() {
            if timer.deadline() >= due {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_a_pause_of_the_limit_ends() {
        let limit = Duration::from_secs(10);
        let mut idle = Idle::new(Some(limit));
        let started = Instant::now();
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_secs(9)).await;
            let polled = poll_fn(|task| Poll::Ready(idle.poll(true, task))).await;
            assert!(polled.is_pending());
        }
        poll_fn(|task| idle.poll(false, task)).await;
        assert_eq!(started.elapsed().as_secs(), 45 + 10);
        let mut never = Idle::new(None);
        let polled = poll_fn(|task| Poll::Ready(never.poll(false, task))).await;
        assert!(polled.is_pending());
    }
}
