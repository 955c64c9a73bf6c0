//! Samples that nobody counts: they are read where they are when metrics are asked for.

use std::fmt;
use std::sync::OnceLock;

use crate::telemetry::names::Metric;

/// One sample: its metric, the values of its labels in order, and its value.
pub type Reading = (Metric, Vec<String>, u64);

type Read = Box<dyn Fn() -> Vec<Reading> + Send + Sync>;

/// Where readings are taken, once that is known.
#[derive(Default)]
pub(super) struct Source(OnceLock<Read>);

impl Source {
    /// Sets it; the first stays.
    pub(super) fn set(&self, read: Read) {
        self.0.get_or_init(|| read);
    }

    /// What is read now.
    pub(super) fn read(&self) -> Vec<Reading> {
        self.0.get().map(|read| read()).unwrap_or_default()
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source")
    }
}
