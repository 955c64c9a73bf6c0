//! Shutdown in two steps, and the owner of every task of a worker. May use `error`.
//!
//! Draining stops new work and lets what is open finish; cutting ends what is left. What comes in is
//! drained first: the app that answers it may have to call others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::watch;

/// How far a shutdown is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Everything is served.
    Serving,
    /// What comes in drains; what goes out is served.
    Leaving,
    /// No new connections; open ones end after the exchange in hand.
    Draining,
    /// Whatever is left ends now.
    Cut,
}

/// The side that starts a shutdown.
#[derive(Debug)]
pub struct Drain {
    phase: watch::Sender<Phase>,
    now: Arc<AtomicU8>,
}

/// The side that follows one; cheap to clone.
#[derive(Clone, Debug)]
pub struct Watch {
    phase: watch::Receiver<Phase>,
    /// The same, for those who only look: each exchange does, on every worker.
    now: Arc<AtomicU8>,
    /// The phase that begins its drain.
    begins: Phase,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            phase: watch::Sender::new(Phase::Serving),
            now: Arc::new(AtomicU8::new(Phase::Serving as u8)),
        }
    }
}

impl Drain {
    /// A follower.
    pub fn watch(&self) -> Watch {
        Watch {
            phase: self.phase.subscribe(),
            now: Arc::clone(&self.now),
            begins: Phase::Draining,
        }
    }

    /// Moves on to `phase`; never back.
    pub fn enter(&self, phase: Phase) {
        self.now.fetch_max(phase as u8, Ordering::Release);
        self.phase.send_if_modified(|current| {
            let later = phase > *current;
            if later {
                *current = phase;
            }
            later
        });
    }
}

impl Watch {
    /// A follower for what comes in.
    #[must_use]
    pub fn inbound(&self) -> Self {
        Self {
            phase: self.phase.clone(),
            now: Arc::clone(&self.now),
            begins: Phase::Leaving,
        }
    }

    /// True once a drain has begun.
    pub fn is_draining(&self) -> bool {
        self.now.load(Ordering::Acquire) >= self.begins as u8
    }

    /// True once the phase is another than when this follower, or the one it is a clone of, was made.
    pub fn has_changed(&self) -> bool {
        self.phase.has_changed().unwrap_or(true)
    }

    /// Returns when a drain begins, at once if one has.
    pub async fn draining(&mut self) {
        self.reached(self.begins).await;
    }

    /// Returns when what is left must end.
    pub async fn cut(&mut self) {
        self.reached(Phase::Cut).await;
    }

    async fn reached(&mut self, phase: Phase) {
        // The sender is gone only when the whole proxy is: that is a cut.
        self.phase
            .wait_for(|current| *current >= phase)
            .await
            .map(drop)
            .unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn phases_only_go_forward() {
        let drain = Drain::default();
        let mut watch = drain.watch();
        let inbound = watch.inbound();
        assert!(!watch.is_draining());
        drain.enter(Phase::Leaving);
        assert!(inbound.is_draining() && !watch.is_draining());
        drain.enter(Phase::Cut);
        drain.enter(Phase::Draining);
        watch.draining().await;
        watch.cut().await;
        let mut late = drain.watch();
        drop(drain);
        late.cut().await;
    }
}
