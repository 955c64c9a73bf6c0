//! What can go wrong with an exchange, on which side, and what follows from it.
//!
//! One table maps a [`Kind`] to status, reason and whether anything reached the app; responses,
//! metrics, logs and retries all read it. May use nothing of this crate.

use std::error::Error as StdError;
use std::fmt;

/// A failed exchange or connection.
#[derive(Debug)]
pub struct Error {
    /// What happened.
    pub kind: Kind,
    /// Where.
    pub side: Side,
    /// Why, if another error says so.
    pub source: Option<Box<dyn StdError + Send + Sync>>,
}

/// Which leg failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The peer that connected to us.
    Downstream,
    /// The peer we connect to.
    Upstream,
    /// Neither: our own rules or limits.
    Internal,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The message breaks HTTP/1.1; the status is the codec's.
    BadMessage(u16),
    /// The request's target or Host cannot be used.
    BadTarget,
    /// No configuration came in time for a name inside the mesh.
    ConfigPending,
    /// The name or address is not known and calls to such are denied.
    UnknownDestination,
    /// The destination's entry cannot be used by this proxy.
    BadConfiguration,
    /// The backend has no endpoint.
    NoEndpoint,
    /// The proxy has as many connections open as it takes.
    OverLimit,
    /// The backend has as many connections from this proxy as `limits.connections` allows.
    ConnectionLimit,
    /// The backend has as many requests from this proxy as `limits.requests` allows.
    RequestLimit,
    /// As many wait for a place as `limits.pendingRequests` allows.
    PendingLimit,
    /// The wait for a place took longer than `limits.queueTimeout`.
    QueueTimeout,
    /// Connecting failed: refused, reset or unreachable.
    ConnectFailed,
    /// Connecting took too long.
    ConnectTimeout,
    /// The peer is not who the configuration says.
    WrongIdentity,
    /// The peer's proxy refused before its app saw anything.
    RefusedUnsent,
    /// The endpoint refused the stream unprocessed, or takes no more of them.
    RefusedStream,
    /// The connection broke before the first byte of a response.
    Reset,
    /// The response broke after its first byte.
    Cut,
    /// The response breaks HTTP/1.1.
    BadResponse,
    /// The whole exchange took too long.
    RequestTimeout,
    /// The caller's deadline had passed before anything was sent.
    DeadlinePassed,
    /// No byte came or went for too long.
    IdleTimeout,
    /// The exchange, what it was upgraded to included, lasted longer than it may.
    MaxStreamDuration,
    /// One try took too long.
    PerTryTimeout,
    /// The downstream went away or broke its body.
    DownstreamGone,
    /// Plaintext on a port that requires mutual TLS.
    TlsRequired,
    /// An `AuthorizationPolicy` refuses the caller.
    Denied,
    /// A limit of a `RateLimitPolicy` of the receiver has no room.
    RateLimited,
    /// The address or port is not this workload's.
    NotHere,
    /// What is spoken is not supported on this port.
    UnsupportedProtocol,
    /// A `TrafficPolicy` injects a failure; the status is the one that it names.
    Fault,
    /// The connection begins as TLS but not with a `ClientHello` that a server would take.
    BadClientHello,
}

impl Kind {
    /// The status of a response made for it.
    pub fn status(self) -> u16 {
        self.row().0
    }

    /// The `reason` of `mesh-error`, metrics and logs.
    pub fn reason(self) -> &'static str {
        self.row().1
    }

    /// True if nothing of the request can have reached the app.
    pub fn is_unsent(self) -> bool {
        matches!(
            self,
            Self::ConnectFailed
                | Self::ConnectTimeout
                | Self::WrongIdentity
                | Self::RefusedUnsent
                | Self::RefusedStream
                | Self::RateLimited
        )
    }

    /// True if a limit of this proxy was reached: nothing was sent, but elsewhere the same would happen.
    pub fn is_limit(self) -> bool {
        matches!(
            self,
            Self::OverLimit
                | Self::ConnectionLimit
                | Self::RequestLimit
                | Self::PendingLimit
                | Self::QueueTimeout
        )
    }

    fn row(self) -> (u16, &'static str) {
        match self {
            Self::BadMessage(status) => (status, "bad-message"),
            Self::BadTarget => (400, "bad-target"),
            Self::ConfigPending => (503, "config-pending"),
            Self::UnknownDestination => (502, "unknown-destination"),
            Self::BadConfiguration => (503, "bad-configuration"),
            Self::NoEndpoint => (503, "no-endpoint"),
            Self::OverLimit => (503, "over-limit"),
            Self::ConnectionLimit => (503, "connection-limit"),
            Self::RequestLimit => (503, "request-limit"),
            Self::PendingLimit => (503, "pending-limit"),
            Self::QueueTimeout => (503, "queue-timeout"),
            Self::ConnectFailed => (503, "connect-failed"),
            Self::ConnectTimeout => (503, "connect-timeout"),
            Self::WrongIdentity => (503, "wrong-identity"),
            Self::RefusedUnsent => (503, "refused"),
            Self::RefusedStream => (503, "refused-stream"),
            Self::Reset => (502, "reset"),
            Self::Cut => (502, "cut"),
            Self::BadResponse => (502, "bad-response"),
            Self::RequestTimeout => (504, "request-timeout"),
            Self::DeadlinePassed => (504, "deadline-passed"),
            Self::IdleTimeout => (504, "idle-timeout"),
            Self::MaxStreamDuration => (504, "max-stream-duration"),
            Self::PerTryTimeout => (504, "per-try-timeout"),
            Self::DownstreamGone => (499, "downstream-gone"),
            Self::TlsRequired => (403, "tls-required"),
            Self::Denied => (403, "denied"),
            Self::RateLimited => (429, "rate-limited"),
            Self::NotHere => (404, "not-here"),
            Self::UnsupportedProtocol => (501, "unsupported-protocol"),
            Self::Fault => (503, "fault"),
            Self::BadClientHello => (400, "bad-client-hello"),
        }
    }
}

impl Error {
    /// A failure towards the app.
    pub fn upstream(kind: Kind) -> Self {
        Self {
            kind,
            side: Side::Upstream,
            source: None,
        }
    }

    /// A failure of the caller.
    pub fn downstream(kind: Kind) -> Self {
        Self {
            kind,
            side: Side::Downstream,
            source: None,
        }
    }

    /// A refusal of our own.
    pub fn internal(kind: Kind) -> Self {
        Self {
            kind,
            side: Side::Internal,
            source: None,
        }
    }

    /// Adds what caused it.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?})", self.kind.reason(), self.side)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
