//! The current credentials, shared between what renews them and what uses them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use super::Credentials;

/// Holds the current credentials of one workload; clones share it.
#[derive(Clone, Debug)]
pub struct IdentityCell {
    current: Arc<watch::Sender<Option<Arc<Credentials>>>>,
}

impl IdentityCell {
    /// A cell with `initial` credentials, if there are any yet.
    pub fn new(initial: Option<Credentials>) -> Self {
        let (current, _) = watch::channel(initial.map(Arc::new));
        Self {
            current: Arc::new(current),
        }
    }

    /// The current credentials; `None` before the first certificate.
    pub fn current(&self) -> Option<Arc<Credentials>> {
        self.current.borrow().clone()
    }

    /// Puts new credentials in force for everything that starts from now on.
    pub fn replace(&self, credentials: Credentials) {
        self.current.send_replace(Some(Arc::new(credentials)));
    }

    /// A worker's view.
    pub fn view(&self) -> View {
        let mut changes = self.current.subscribe();
        let current = changes.borrow_and_update().clone();
        View { changes, current }
    }

    /// A receiver that is told of each replacement.
    pub fn watch(&self) -> watch::Receiver<Option<Arc<Credentials>>> {
        self.current.subscribe()
    }
}

/// A worker's view of the current credentials, for what each exchange asks.
#[derive(Debug)]
pub struct View {
    changes: watch::Receiver<Option<Arc<Credentials>>>,
    current: Option<Arc<Credentials>>,
}

impl View {
    /// The current credentials; one atomic load while they are not replaced.
    pub fn current(&mut self) -> Option<&Arc<Credentials>> {
        if self.changes.has_changed().unwrap_or(false) {
            self.current.clone_from(&self.changes.borrow_and_update());
        }
        self.current.as_ref()
    }
}

/// When to renew a certificate that lives from `not_before` to `not_after` (seconds since the
/// epoch): at a third of its life, and up to a tenth of it later by `jitter` (0 to 1), so that
/// workloads started together do not renew together.
pub fn renew_at(not_before: i64, not_after: i64, jitter: f64) -> SystemTime {
    let seconds = |count: i64| Duration::from_secs(u64::try_from(count).unwrap_or(0));
    let life = seconds(not_after.saturating_sub(not_before));
    let jitter = if jitter.is_finite() {
        jitter.clamp(0.0, 1.0)
    } else {
        0.0
    };
    SystemTime::UNIX_EPOCH + seconds(not_before) + life / 3 + (life / 10).mul_f64(jitter)
}
