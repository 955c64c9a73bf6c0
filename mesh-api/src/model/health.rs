//! How endpoints are asked whether they work.
//!
//! The `Default` impl here belongs to the table of defaults.

use std::time::Duration;

use crate::model::policy::{DEFAULTS, StatusRange};
use crate::name::Hostname;

/// What every proxy that calls a backend asks each of its endpoints, and how often; once per proxy, however many
/// workers it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked.
    pub question: Question,
    /// Between two checks of an endpoint, 100 ms to 1 h.
    pub interval: Duration,
    /// By how much an interval may be longer, 0 to 100 percent of it.
    pub jitter_percent: u32,
    /// Time for a check, connecting included; 10 ms to 1 min.
    pub timeout: Duration,
    /// Failed checks in a row after which it is unhealthy, 1 to 100.
    pub unhealthy_after: u32,
    /// Good ones in a row after which it is healthy again, 1 to 100.
    pub healthy_after: u32,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// A request of HTTP.
    Http(HttpQuestion),
    /// A connection.
    Tcp,
    /// A call of `grpc.health.v1.Health/Check` about this service; empty: the server.
    Grpc(String),
}

/// A request, and which statuses say that all is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpQuestion {
    /// `GET`, `HEAD` or `OPTIONS`.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Host to ask for; the endpoint's address where absent.
    pub host: Option<Hostname>,
    /// At least one, within 100 to 599.
    pub expected: Vec<StatusRange>,
}

/// Shortest and longest interval.
pub const INTERVALS: [Duration; 2] = [Duration::from_millis(100), Duration::from_hours(1)];
/// Shortest and longest time for a check.
pub const TIMEOUTS: [Duration; 2] = [Duration::from_millis(10), Duration::from_mins(1)];
/// Most checks in a row that a change may take.
pub const MAX_IN_A_ROW: u32 = 100;
/// Bytes of a path or of a gRPC service's name.
pub const MAX_TEXT: usize = 1024;
/// Ranges of expected statuses.
pub const MAX_EXPECTED: usize = 16;
/// Methods that a check may use.
pub const METHODS: [&str; 3] = ["GET", "HEAD", "OPTIONS"];

impl HealthCheck {
    /// Asks `question` as the table of defaults has it.
    pub fn asking(question: Question) -> Self {
        Self {
            question,
            interval: DEFAULTS.check_interval,
            jitter_percent: DEFAULTS.check_jitter_percent,
            timeout: DEFAULTS.check_timeout,
            unhealthy_after: DEFAULTS.unhealthy_after,
            healthy_after: DEFAULTS.healthy_after,
        }
    }
}

/// True for a path, with or without a query, as a request's first line takes it.
pub fn is_path(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
    text.len() <= MAX_TEXT && text.starts_with('/') && text.bytes().all(is_plain)
}

/// True for the name of a gRPC service, or none.
pub fn is_service(text: &str) -> bool {
    text.len() <= MAX_TEXT && text.bytes().all(|byte| byte.is_ascii_graphic())
}
