//! Copies of requests (Gateway API `HTTPRequestMirrorFilter`; `mirror` of a `TrafficPolicy`).

use std::time::Duration;

use crate::model::route::Target;
use crate::model::share::Share;

/// Where copies of a rule's requests go.
#[derive(Clone, Debug, PartialEq)]
pub struct Mirror {
    /// The backend; one that does not resolve gets nothing.
    pub target: Target,
    /// The share of requests that is copied.
    pub share: Share,
}

/// How copies are made, and what is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirroring {
    /// Compares statuses.
    pub status: bool,
    /// Compares times to the response's head.
    pub latency: bool,
    /// Compares contents, by a hash.
    pub body_hash: bool,
    /// Copies under way at a time, for a backend and proxy; what is beyond is not made.
    pub max_concurrent: u32,
    /// Bytes of a request's content that wait for a slow copy; one that is slower is given up.
    pub max_body_bytes: u64,
    /// Time for a copy, to its response's end.
    pub timeout: Duration,
}

impl Default for Mirroring {
    fn default() -> Self {
        Self::DEFAULT.clone()
    }
}

impl Mirroring {
    /// Where nothing else is said.
    pub const DEFAULT: Self = Self {
        status: false,
        latency: false,
        body_hash: false,
        max_concurrent: 64,
        max_body_bytes: 65_536,
        timeout: Duration::from_secs(30),
    };
    /// Most copies at a time.
    pub const MOST_CONCURRENT: u32 = 10_000;
    /// Most bytes that wait.
    pub const MOST_BYTES: u64 = 1 << 24;

    /// True if an answer is compared at all.
    pub fn compares(&self) -> bool {
        self.status || self.latency || self.body_hash
    }
}
