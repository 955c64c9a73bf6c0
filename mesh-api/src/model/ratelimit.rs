//! How much a workload takes: limits of the receiving side, as `RateLimitPolicy` has them.

use std::fmt;
use std::time::Duration;

use crate::model::fault::FaultMatch;
use crate::model::route::{Route, RouteKind};
use crate::name::{DestinationName, HeaderName, Name, ObjectName, Port};

/// A `RateLimitPolicy` that applies to a workload.
#[derive(Clone, Debug, PartialEq)]
pub struct RateLimiting {
    /// The policy.
    pub policy: ObjectName,
    /// What it applies to: any of these, sorted.
    pub reach: Vec<Reach>,
    /// On requests.
    pub limits: Vec<RateLimit>,
    /// On connections.
    pub connections: Option<Rate>,
}

/// What of a workload a policy applies to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Every port.
    Workload,
    /// One port of the app.
    Port(Port),
    /// Requests to one port of the app that fall to rules of a route.
    Rules(RuleReach),
}

/// Rules of a route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleReach {
    /// The app's port.
    pub port: Port,
    /// The place of the routes among those of the workload's entry.
    pub routing: u32,
    /// The kind of the route.
    pub kind: RouteKind,
    /// The route.
    pub route: ObjectName,
    /// The rule; `None`: any of the route.
    pub rule: Option<Name>,
}

/// The routes of a Service's port, by which a receiver tells which rule a request fell to. Their rules
/// have matches only: nothing is forwarded by them.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceivedRoutes {
    /// The Service and port that was called.
    pub destination: DestinationName,
    /// Its routes.
    pub routes: Vec<Route>,
}

/// A limit on requests.
#[derive(Clone, Debug, PartialEq)]
pub struct RateLimit {
    /// Its place in `spec.limits`.
    pub place: u32,
    /// Its name.
    pub name: Name,
    /// How many.
    pub rate: Rate,
    /// What has a bucket of its own: all of these together; empty: one bucket for all.
    pub by: Vec<KeyPart>,
    /// Any of these requests; empty: all. Labels of callers are not asked for.
    pub matches: Vec<FaultMatch>,
    /// The status of an answer over the limit.
    pub status: u16,
}

/// A part of a request's key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeyPart {
    /// Who calls, as authenticated; the same for all that did not prove who they are.
    Identity,
    /// The value of a header field; the same for all requests without it.
    Header(HeaderName),
    /// The address of the caller's connection.
    SourceIp,
}

/// A bucket of `burst` into which `requests` flow back in each `per`, evenly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    requests: u32,
    per: Duration,
    burst: u32,
}

impl Rate {
    /// Most requests, and most at once.
    pub const MOST: u32 = 1_000_000;
    /// Shortest and longest time.
    pub const SHORTEST: Duration = Duration::from_millis(1);
    /// The longest time.
    pub const LONGEST: Duration = Duration::from_hours(24);
    /// Shortest time between two requests: 1,000,000 a second.
    const FASTEST: Duration = Duration::from_micros(1);

    /// A rate.
    ///
    /// # Errors
    /// What is absurd about it, in words.
    pub fn new(requests: u32, per: Duration, burst: u32) -> Result<Self, &'static str> {
        if !(1..=Self::MOST).contains(&requests) || !(1..=Self::MOST).contains(&burst) {
            return Err("has a number that is not between 1 and 1000000");
        }
        if !(Self::SHORTEST..=Self::LONGEST).contains(&per) {
            return Err("has a time that is not between 1ms and 24h");
        }
        if per < Self::FASTEST.saturating_mul(requests) {
            return Err("is over 1000000 a second, which limits nothing: leave it out");
        }
        Ok(Self {
            requests,
            per,
            burst,
        })
    }

    /// How many flow back in [`Rate::per`].
    pub fn requests(&self) -> u32 {
        self.requests
    }

    /// In which time.
    pub fn per(&self) -> Duration {
        self.per
    }

    /// How many may come at once.
    pub fn burst(&self) -> u32 {
        self.burst
    }
}

impl RateLimit {
    /// Most limits of a policy, matches of a limit, and parts of a key.
    pub const MAX_LISTED: usize = 16;
    /// Most matches of a limit.
    pub const MAX_MATCHES: usize = 16;
    /// Most parts of a key.
    pub const MAX_PARTS: usize = 4;
    /// The status of an answer over the limit that names none (RFC 6585 section 4).
    pub const STATUS: u16 = 429;
}

impl RateLimiting {
    /// True if it has a limit on requests to `port` of the app.
    pub fn reads_requests(&self, port: Port) -> bool {
        let reaches = |reach: &Reach| match reach {
            Reach::Workload => true,
            Reach::Port(own) => *own == port,
            Reach::Rules(rules) => rules.port == port,
        };
        !self.limits.is_empty() && self.reach.iter().any(reaches)
    }

    /// The limit on connections to `port` of the app, if there is one.
    pub fn connections_to(&self, port: Port) -> Option<Rate> {
        let reaches = |reach: &Reach| match reach {
            Reach::Workload => true,
            Reach::Port(own) => *own == port,
            Reach::Rules(_) => false,
        };
        self.connections.filter(|_| self.reach.iter().any(reaches))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            requests,
            per,
            burst,
        } = self;
        write!(f, "{requests} per {per:?}, {burst} at once")
    }
}

impl fmt::Display for KeyPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity => f.write_str("identity"),
            Self::Header(name) => write!(f, "header {name}"),
            Self::SourceIp => f.write_str("source address"),
        }
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.rate)?;
        for (at, part) in self.by.iter().enumerate() {
            f.write_str(if at == 0 { ", by " } else { " and " })?;
            part.fmt(f)?;
        }
        if self.status != Self::STATUS {
            write!(f, ", answers {}", self.status)?;
        }
        Ok(())
    }
}
