//! Names and labels of every metric, as typed constants. Values of labels are bounded: names of
//! configured objects, statuses by class, and reasons from fixed tables.

/// What a sample means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// A current value.
    Gauge,
    /// Cumulative buckets, in seconds.
    Histogram,
}

impl Kind {
    /// As `# TYPE` says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// One sentence for `# HELP`.
    pub help: &'static str,
    /// What its samples mean.
    pub kind: Kind,
    /// Its labels, in order.
    pub labels: &'static [&'static str],
}

/// The destination where nothing is known of what a client named.
pub const UNKNOWN: &str = "unknown";
/// The value of a label whose own values ran out of room.
pub const OVERFLOW: &str = "overflow";

/// Upper bounds of the latency buckets, in microseconds.
pub const BUCKETS_MICROS: [u64; 16] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000,
];

/// Upper bounds of the buckets for opaque connections, in microseconds: up to a day.
pub const TCP_BUCKETS_MICROS: [u64; 8] = [
    10_000,
    100_000,
    1_000_000,
    10_000_000,
    60_000_000,
    600_000_000,
    3_600_000_000,
    86_400_000_000,
];

/// The metrics.
pub mod metric {
    use super::{Kind, Metric};

    const fn metric(
        kind: Kind,
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Metric {
        Metric {
            name,
            help,
            kind,
            labels,
        }
    }

    /// Exchanges ended.
    pub const REQUESTS: Metric = metric(
        Kind::Counter,
        "mesh_requests_total",
        &["direction", "destination", "backend", "status", "reason"],
        "Exchanges ended, by class of status; reason is set where the mesh itself answered.",
    );
    /// Time of exchanges.
    pub const REQUEST_DURATION: Metric = metric(
        Kind::Histogram,
        "mesh_request_duration_seconds",
        &["direction", "destination"],
        "Time from the request's first byte to the response's last.",
    );
    /// Bytes of request bodies.
    pub const REQUEST_BYTES: Metric = metric(
        Kind::Counter,
        "mesh_request_bytes_total",
        &["direction", "destination"],
        "Bytes received from downstream.",
    );
    /// Bytes of responses.
    pub const RESPONSE_BYTES: Metric = metric(
        Kind::Counter,
        "mesh_response_bytes_total",
        &["direction", "destination"],
        "Bytes sent to downstream.",
    );
    /// Further attempts.
    pub const RETRIES: Metric = metric(
        Kind::Counter,
        "mesh_retries_total",
        &["direction", "destination"],
        "Attempts after the first.",
    );
    /// Connections accepted.
    pub const CONNECTIONS_OPENED: Metric = metric(
        Kind::Counter,
        "mesh_connections_opened_total",
        &["direction"],
        "Downstream connections accepted.",
    );
    /// Connections ended.
    pub const CONNECTIONS_CLOSED: Metric = metric(
        Kind::Counter,
        "mesh_connections_closed_total",
        &["direction"],
        "Downstream connections ended.",
    );
    /// Connections open now.
    pub const CONNECTIONS_ACTIVE: Metric = metric(
        Kind::Gauge,
        "mesh_connections_active",
        &["direction"],
        "Downstream connections open now.",
    );
    /// Opaque connections carried.
    pub const TCP_OPENED: Metric = metric(
        Kind::Counter,
        "mesh_tcp_connections_opened_total",
        &["direction", "destination", "backend"],
        "Opaque connections that reached an endpoint.",
    );
    /// Opaque connections ended.
    pub const TCP_CLOSED: Metric = metric(
        Kind::Counter,
        "mesh_tcp_connections_closed_total",
        &["direction", "destination", "backend", "reason"],
        "Opaque connections ended; reason is set where they did not end by themselves.",
    );
    /// Bytes from downstream.
    pub const TCP_BYTES_IN: Metric = metric(
        Kind::Counter,
        "mesh_tcp_received_bytes_total",
        &["direction", "destination"],
        "Bytes received from downstream on ended opaque connections.",
    );
    /// Bytes to downstream.
    pub const TCP_BYTES_OUT: Metric = metric(
        Kind::Counter,
        "mesh_tcp_sent_bytes_total",
        &["direction", "destination"],
        "Bytes sent to downstream on ended opaque connections.",
    );
    /// Time of opaque connections.
    pub const TCP_DURATION: Metric = metric(
        Kind::Histogram,
        "mesh_tcp_connection_duration_seconds",
        &["direction", "destination"],
        "Time from an opaque connection's acceptance to its end.",
    );
    /// Protocols told.
    pub const DETECTIONS: Metric = metric(
        Kind::Counter,
        "mesh_detections_total",
        &["direction", "result", "by"],
        "Connections to undeclared ports, by what they speak and what told it: first bytes, the end of the wait, or the sender's hint.",
    );
    /// Connections turned away.
    pub const CONNECTIONS_REFUSED: Metric = metric(
        Kind::Counter,
        "mesh_connections_refused_total",
        &["direction", "reason"],
        "Connections closed unserved.",
    );
    /// Calls that a policy would refuse.
    pub const AUDITED: Metric = metric(
        Kind::Counter,
        "mesh_authorization_audited_total",
        &["policy"],
        "Calls that passed and that an AuthorizationPolicy with enforcement Audit would have refused.",
    );
    /// Retries that did not follow.
    pub const RETRIES_STOPPED: Metric = metric(
        Kind::Counter,
        "mesh_retries_stopped_total",
        &["backend", "reason"],
        "Failed tries that the policy retries and that none followed: attempts, budget, method, body (larger than is kept), pushback or time.",
    );
    /// Faults injected.
    pub const FAULTS: Metric = metric(
        Kind::Counter,
        "mesh_faults_injected_total",
        &["destination", "fault"],
        "Requests into which a TrafficPolicy injected a fault: delay, abort, bandwidth or several of them.",
    );
    /// Copies of requests.
    pub const MIRRORS: Metric = metric(
        Kind::Counter,
        "mesh_mirrors_total",
        &["destination", "backend", "outcome"],
        "Copies of requests by RequestMirror filters: answered, failed, timeout, lost (slower than the request by more than its bound) or over-limit (not made).",
    );
    /// Answers compared.
    pub const MIRROR_COMPARISONS: Metric = metric(
        Kind::Counter,
        "mesh_mirror_comparisons_total",
        &["destination", "backend", "compared", "result"],
        "Answers compared with those of copies: status and body equal or different, latency by how much the copy was slower or faster.",
    );
    /// Messages that break HTTP/1.1.
    pub const MESSAGES_REFUSED: Metric = metric(
        Kind::Counter,
        "mesh_messages_refused_total",
        &["direction", "reason"],
        "Requests refused because they break HTTP/1.1.",
    );
    /// Failed handshakes.
    pub const TLS_HANDSHAKE_FAILURES: Metric = metric(
        Kind::Counter,
        "mesh_tls_handshake_failures_total",
        &["direction", "reason"],
        "TLS handshakes refused or broken.",
    );
    /// Endpoints taken out.
    pub const EJECTIONS: Metric = metric(
        Kind::Counter,
        "mesh_ejections_total",
        &["backend", "reason"],
        "Endpoints taken out after failures, by why.",
    );
    /// Endpoints that are new.
    pub const SLOW_STARTS: Metric = metric(
        Kind::Counter,
        "mesh_slow_starts_total",
        &["backend"],
        "Endpoints that appeared beside others, and got less than their share for a while.",
    );
    /// Refused entries.
    pub const CONFIG_NACKS: Metric = metric(
        Kind::Counter,
        "mesh_config_nacks_total",
        &[],
        "Configuration entries refused.",
    );
    /// Failed control streams.
    pub const CONFIG_STREAM_FAILURES: Metric = metric(
        Kind::Counter,
        "mesh_config_stream_failures_total",
        &[],
        "Control streams that ended or could not be opened.",
    );
    /// The snapshot in force.
    pub const CONFIG_GENERATION: Metric = metric(
        Kind::Gauge,
        "mesh_config_generation",
        &[],
        "Snapshots put in force since the start.",
    );
    /// Whether the control stream is up.
    pub const CONFIG_CONNECTED: Metric = metric(
        Kind::Gauge,
        "mesh_config_connected",
        &[],
        "1 while the control stream is up.",
    );
    /// When the leaf ends.
    pub const CERTIFICATE_EXPIRY: Metric = metric(
        Kind::Gauge,
        "mesh_certificate_expiry_timestamp_seconds",
        &[],
        "End of the certificate in use, in seconds since the epoch; 0 without one.",
    );
    /// Failed renewals.
    pub const CERTIFICATE_RENEWAL_FAILURES: Metric = metric(
        Kind::Counter,
        "mesh_certificate_renewal_failures_total",
        &[],
        "Renewals of the certificate that failed and are tried again.",
    );
    /// Lost log lines.
    pub const ACCESS_LOG_DROPPED: Metric = metric(
        Kind::Counter,
        "mesh_access_log_dropped_total",
        &[],
        "Access log lines dropped because the writer was behind.",
    );
    /// Label sets that found no room.
    pub const SERIES_OVERFLOWED: Metric = metric(
        Kind::Counter,
        "mesh_series_overflowed_total",
        &[],
        "Label sets counted as overflow because the table of series was full.",
    );

    /// What is in flight.
    pub const LIMIT_IN_USE: Metric = metric(
        Kind::Gauge,
        "mesh_limit_in_use",
        &["backend", "limit"],
        "Connections, requests and retries in flight to a backend, and what waits for a place, as its limits count them.",
    );
    /// What limits refused.
    pub const LIMIT_REFUSED: Metric = metric(
        Kind::Counter,
        "mesh_limit_refused_total",
        &["backend", "reason"],
        "What a limit of a backend refused: a retry-limit passes the answer of the try before on, the others are answered 503.",
    );

    /// Endpoints that a policy took out.
    pub const ENDPOINTS_OUT: Metric = metric(
        Kind::Gauge,
        "mesh_endpoints_out",
        &["backend"],
        "Endpoints of a backend that its outlierDetection took out and that did not come back yet.",
    );
    /// Endpoints whose checks failed.
    pub const ENDPOINTS_UNHEALTHY: Metric = metric(
        Kind::Gauge,
        "mesh_endpoints_unhealthy",
        &["backend"],
        "Endpoints of a backend whose health checks failed.",
    );
    /// Checks of endpoints.
    pub const HEALTH_CHECKS: Metric = metric(
        Kind::Counter,
        "mesh_health_checks_total",
        &["backend", "result"],
        "Health checks of a backend's endpoints, passed or failed.",
    );
    /// Picks that heed no ejection.
    pub const PANIC_PICKS: Metric = metric(
        Kind::Counter,
        "mesh_panic_picks_total",
        &["backend"],
        "Picks among all endpoints of a backend, since fewer than panicThreshold percent of them were well.",
    );

    /// What rate limits refused.
    pub const RATE_LIMITED: Metric = metric(
        Kind::Counter,
        "mesh_rate_limited_total",
        &["policy", "limit"],
        "Requests that a limit of a RateLimitPolicy refused; limit is connections where it refused a connection.",
    );
    /// Keys without a bucket of their own.
    pub const RATE_LIMIT_OVERFLOWED: Metric = metric(
        Kind::Counter,
        "mesh_rate_limit_overflowed_total",
        &["policy", "limit"],
        "Requests counted in the bucket that all keys beyond 65,536 of a limit share.",
    );
    /// Endpoints picked, by how near they are.
    pub const LOCALITY_PICKS: Metric = metric(
        Kind::Counter,
        "mesh_locality_picks_total",
        &["near"],
        "Endpoints picked of backends with a locality preference: in the caller's zone, in its region, where that fails over to, or other.",
    );

    /// What is read when metrics are asked for.
    pub const READ: [Metric; 8] = [
        LIMIT_IN_USE,
        LIMIT_REFUSED,
        ENDPOINTS_OUT,
        ENDPOINTS_UNHEALTHY,
        PANIC_PICKS,
        RATE_LIMITED,
        RATE_LIMIT_OVERFLOWED,
        LOCALITY_PICKS,
    ];

    /// Counters that cold events add to.
    pub const COLD: [Metric; 15] = [
        DETECTIONS,
        CONNECTIONS_REFUSED,
        AUDITED,
        RETRIES_STOPPED,
        FAULTS,
        MIRRORS,
        MIRROR_COMPARISONS,
        TLS_HANDSHAKE_FAILURES,
        EJECTIONS,
        HEALTH_CHECKS,
        SLOW_STARTS,
        MESSAGES_REFUSED,
        CONFIG_NACKS,
        CONFIG_STREAM_FAILURES,
        CERTIFICATE_RENEWAL_FAILURES,
    ];
}
