//! Injected faults, as `fault` of a `TrafficPolicy` has them.

use std::fmt;
use std::time::Duration;

use crate::model::grpc::GrpcCode;
use crate::model::narrowing::Sources;
use crate::model::route::RouteMatch;
use crate::model::share::Share;

/// One fault. Its parts are drawn by themselves.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// Its place in the user's list.
    pub place: u32,
    /// Any of these requests; empty: all.
    pub matches: Vec<FaultMatch>,
    /// Waits before the request goes on.
    pub delay: Option<Delay>,
    /// Answers instead of an app.
    pub abort: Option<Abort>,
    /// Slows the response down.
    pub bandwidth: Option<Bandwidth>,
    /// The proxy that injects it may try again, as the retry policy says; else it is the answer.
    pub retry: bool,
}

/// Requests that a fault concerns: all parts hold.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultMatch {
    /// On the request.
    pub conditions: RouteMatch,
    /// On the caller.
    pub sources: Sources,
}

/// A wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay {
    /// Of how many requests.
    pub share: Share,
    /// How long.
    pub time: DelayTime,
}

/// How long a wait is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DelayTime {
    /// Always this.
    Fixed(Duration),
    /// Uniform between the two.
    Range {
        /// The least.
        min: Duration,
        /// The most.
        max: Duration,
    },
    /// By the exponential distribution, cut at the most.
    Exponential {
        /// The mean, before the cut.
        mean: Duration,
        /// The most.
        max: Duration,
    },
}

/// An answer instead of an app's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abort {
    /// Of how many requests.
    pub share: Share,
    /// What is answered.
    pub answer: AbortAnswer,
}

/// What an aborted request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbortAnswer {
    /// This status, 400 to 599; a gRPC call gets the code that stands for it.
    Status(u16),
    /// This code, of gRPC calls only.
    Grpc(GrpcCode),
    /// Nothing: the connection, or the stream, is reset.
    Reset,
}

/// A slow response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bandwidth {
    /// Of how many requests.
    pub share: Share,
    /// Bytes of content per second, at least 1.
    pub bytes_per_second: u64,
}

impl Fault {
    /// Longest wait.
    pub const MAX_DELAY: Duration = Duration::from_hours(1);
    /// Most faults of a list.
    pub const MAX_LISTED: usize = 16;
    /// Most matches of a fault.
    pub const MAX_MATCHES: usize = 16;
}

impl DelayTime {
    /// The longest that it may be.
    pub fn longest(self) -> Duration {
        match self {
            Self::Fixed(time) => time,
            Self::Range { max, .. } | Self::Exponential { max, .. } => max,
        }
    }
}

impl fmt::Display for DelayTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(time) => write!(f, "{time:?}"),
            Self::Range { min, max } => write!(f, "{min:?} to {max:?}"),
            Self::Exponential { mean, max } => {
                write!(f, "exponential with mean {mean:?}, at most {max:?}")
            }
        }
    }
}

impl fmt::Display for AbortAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "{status}"),
            Self::Grpc(code) => write!(f, "gRPC {code}"),
            Self::Reset => f.write_str("reset"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let delay = self
            .delay
            .map(|Delay { share, time }| format!("delay {time} of {share}"));
        let abort = self
            .abort
            .map(|Abort { share, answer }| format!("abort {answer} of {share}"));
        let slow = self
            .bandwidth
            .map(|slow| format!("{} bytes/s of {}", slow.bytes_per_second, slow.share));
        let parts: Vec<String> = [delay, abort, slow].into_iter().flatten().collect();
        f.write_str(&parts.join(", "))?;
        f.write_str(if self.retry { ", retried" } else { "" })
    }
}
