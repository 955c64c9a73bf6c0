//! One struct per thing that happens.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use mesh_api::error::Invalid;
use mesh_api::name::{DestinationName, Identity, ObjectName};

/// Towards or away from the local workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// To the local app.
    Inbound,
    /// From the local app.
    Outbound,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Inbound, Self::Outbound];

    /// As a label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// An exchange ended.
#[derive(Clone, Debug)]
pub struct ExchangeEvent<'a> {
    /// Which way it went.
    pub direction: Direction,
    /// `None` where nothing is known of what the client named.
    pub destination: Option<&'a DestinationName>,
    /// The backend chosen, if one was.
    pub backend: Option<&'a DestinationName>,
    /// The endpoint of the last attempt.
    pub endpoint: Option<SocketAddr>,
    /// The HTTPRoute and the index of the rule that matched.
    pub route: Option<(&'a ObjectName, u32)>,
    /// Who is at the other end, as authenticated.
    pub peer: Option<&'a Identity>,
    /// The method, as received.
    pub method: &'a str,
    /// The Host, as received.
    pub host: &'a str,
    /// The path without the query, as it was decided on.
    pub path: &'a str,
    /// The status sent downstream; 0 where none was.
    pub status: u16,
    /// Why, where the mesh itself answered or the exchange was cut.
    pub reason: Option<&'static str>,
    /// What was injected: `delay`, `abort`, `bandwidth` or several of them.
    pub fault: Option<&'static str>,
    /// Tries upstream, 0 or more.
    pub attempts: u32,
    /// Bytes received from downstream.
    pub bytes_in: u64,
    /// Bytes sent to downstream.
    pub bytes_out: u64,
    /// From the request's first byte to the response's last.
    pub duration: Duration,
    /// The W3C `traceparent` field, as received.
    pub traceparent: Option<&'a [u8]>,
}

/// An opaque connection ended, or was refused.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionEvent<'a> {
    /// Which way it went.
    pub direction: Direction,
    /// Where to.
    pub destination: &'a DestinationName,
    /// The backend chosen, if one was.
    pub backend: Option<&'a DestinationName>,
    /// The endpoint of the last attempt.
    pub endpoint: Option<SocketAddr>,
    /// The route and the index of the rule that matched.
    pub route: Option<(&'a ObjectName, u32)>,
    /// Who is at the other end, as authenticated.
    pub peer: Option<&'a Identity>,
    /// What is spoken: `tcp`, `tls` or another word of the tunnel's hint.
    pub protocol: &'static str,
    /// The server name of a `ClientHello` that was read.
    pub server_name: Option<&'a str>,
    /// False if no endpoint was reached: the connection was refused.
    pub reached: bool,
    /// Why, where it was refused or did not end by itself.
    pub reason: Option<&'static str>,
    /// Endpoints tried.
    pub attempts: u32,
    /// Bytes received from downstream.
    pub bytes_in: u64,
    /// Bytes sent to downstream.
    pub bytes_out: u64,
    /// From its acceptance to its end.
    pub duration: Duration,
}

/// What an undeclared connection speaks, and what told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detection {
    /// Which way it goes.
    pub direction: Direction,
    /// `http1`, `http2`, `tls` or `tcp`.
    pub result: &'static str,
    /// `bytes`, `timeout` or `hint`.
    pub by: &'static str,
}

/// A batch of configuration came in force.
#[derive(Clone, Copy, Debug)]
pub struct ConfigApplied {
    /// Of the new snapshot.
    pub generation: u64,
    /// Entries put in force.
    pub upserted: usize,
    /// Entries known to be gone.
    pub removed: usize,
}

/// An entry was refused.
#[derive(Clone, Copy, Debug)]
pub struct EntryRefused<'a> {
    /// Its name, as received.
    pub name: &'a str,
    /// Why.
    pub faults: &'a [Invalid],
}

/// The control stream ended or could not be opened.
#[derive(Clone, Copy)]
pub struct ControlLost<'a> {
    /// Where to.
    pub address: &'a str,
    /// Why.
    pub reason: &'a dyn fmt::Display,
}

/// A TLS handshake failed.
#[derive(Clone, Copy)]
pub struct TlsHandshakeFailed<'a> {
    /// Inbound: somebody came; outbound: we dialled.
    pub direction: Direction,
    /// From a fixed table.
    pub reason: &'static str,
    /// The other end.
    pub peer: Option<SocketAddr>,
    /// For the debug log.
    pub detail: &'a dyn fmt::Display,
}

/// A connection was closed unserved.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionRefused {
    /// Which way it went.
    pub direction: Direction,
    /// From a fixed table.
    pub reason: &'static str,
    /// The other end.
    pub peer: Option<SocketAddr>,
}

/// A call passed that a policy would refuse if it were enforced.
#[derive(Clone, Copy)]
pub struct Audited<'a> {
    /// The policy, `namespace/name`.
    pub policy: &'a str,
    /// Who called, as authenticated.
    pub peer: Option<&'a Identity>,
    /// For the log.
    pub detail: &'a dyn fmt::Display,
}

/// A fault was injected.
#[derive(Clone, Copy, Debug)]
pub struct FaultInjected<'a> {
    /// Where the request was going.
    pub destination: Option<&'a DestinationName>,
    /// From a fixed table.
    pub fault: &'static str,
}

/// A copy of a request ended, or its answer was compared.
#[derive(Clone, Copy, Debug)]
pub struct Mirrored<'a> {
    /// Where the request was going.
    pub destination: &'a DestinationName,
    /// Where the copy went.
    pub backend: &'a DestinationName,
    /// From a fixed table.
    pub outcome: &'static str,
}

/// An endpoint was taken out.
#[derive(Clone, Copy, Debug)]
pub struct Ejection<'a> {
    /// The backend, `namespace/service:port`.
    pub backend: &'a str,
    /// The endpoint.
    pub endpoint: SocketAddr,
    /// From a fixed table.
    pub reason: &'static str,
    /// For how long.
    pub duration: Duration,
}

/// An endpoint was asked whether it works.
#[derive(Clone, Copy, Debug)]
pub struct HealthChecked<'a> {
    /// The backend, `namespace/service:port`.
    pub backend: &'a str,
    /// The endpoint.
    pub endpoint: SocketAddr,
    /// Why it does not.
    pub failure: Option<&'a str>,
    /// Whether it is unhealthy from now on, where that changed.
    pub turned: Option<bool>,
}
