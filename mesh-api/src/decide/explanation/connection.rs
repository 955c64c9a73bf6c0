//! The whole story of a connection whose bytes the mesh does not read.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use crate::decide::connection::{self, ConnectionDecision, ConnectionFacts};
use crate::decide::explanation::endpoint::{Endpoint, endpoints, percent};
use crate::decide::explanation::near::View;
use crate::decide::explanation::outcome::refusal_text;
use crate::decide::explanation::setting::{Setting, connect_retry_text, debug, duration, setting};
use crate::decide::explanation::{RulePlace, breaker, health, outlier, text};
use crate::model::narrowing::Labels;
use crate::snapshot::{ConnectionTable, DestinationTable};

/// What happens to a connection, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionExplanation {
    /// The Service and port.
    pub destination: String,
    /// The namespace it is seen from.
    pub consumer: String,
    /// What the app speaks.
    pub protocol: &'static str,
    /// The server name of the ClientHello; none for bytes that are no TLS.
    pub server_name: Option<String>,
    /// The route that takes it; none where the destination has no routes of connections, or none fits.
    pub matched: Option<ConnectionPlace>,
    /// Every other route of connections.
    pub lost: Vec<ConnectionPlace>,
    /// Routes of requests, which say nothing here.
    pub unread: Vec<String>,
    /// Every possible outcome with its chance; one, unless several backends have a weight.
    pub outcomes: Vec<ConnectionOutcome>,
}

/// A route of connections.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionPlace {
    /// Which.
    #[serde(flatten)]
    pub place: RulePlace,
    /// The server names it takes; empty: every connection.
    pub hostnames: Vec<String>,
}

/// A possible outcome.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionOutcome {
    /// How often, in percent by the rule's weights.
    pub percent: f64,
    /// The place of the backend in the rule's `backendRefs`, where one is chosen.
    pub backend_ref: Option<usize>,
    /// What happens.
    #[serde(flatten)]
    pub result: ConnectionResult,
}

/// What happens to a connection.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", tag = "outcome")]
#[expect(
    clippy::large_enum_variant,
    reason = "one for each question of a person"
)]
pub enum ConnectionResult {
    /// It goes to a backend.
    #[serde(rename_all = "camelCase")]
    Forward {
        /// The Service and port.
        backend: String,
        /// Further endpoints that are tried.
        retry: Setting,
        /// Time to connect.
        connect_timeout: Setting,
        /// Time without a byte after which it is closed.
        idle: Setting,
        /// How an endpoint is chosen.
        algorithm: Setting,
        /// What may be in flight at a time.
        limits: Setting,
        /// When endpoints are taken out for what they answer.
        #[serde(skip_serializing_if = "Option::is_none")]
        outlier_detection: Option<Setting>,
        /// How endpoints are asked whether they work.
        #[serde(skip_serializing_if = "Option::is_none")]
        health_check: Option<Setting>,
        /// Where it may go.
        endpoints: Vec<Endpoint>,
    },
    /// The mesh closes it.
    #[serde(rename_all = "camelCase")]
    Refuse {
        /// Why, as metrics and logs name it.
        reason: &'static str,
        /// Why, in words.
        detail: String,
    },
}

/// Explains what happens to a connection with a ClientHello for `server_name`, or with none, of a caller with these
/// labels.
pub fn explain_connection(
    destination: &DestinationTable,
    server_name: Option<&str>,
    labels: Option<&Labels>,
) -> ConnectionExplanation {
    let facts = ConnectionFacts { server_name };
    let won = connection::route(destination, &facts);
    let routes = destination.connections.routes.iter();
    let lost = routes.filter(|table| won.is_none_or(|won| !std::sync::Arc::ptr_eq(won, table)));
    let unread = destination.routing.routes.iter();
    ConnectionExplanation {
        destination: destination.name.to_string(),
        consumer: destination.consumer.to_string(),
        protocol: destination.protocol.as_str(),
        server_name: server_name.map(str::to_owned),
        matched: won.map(|table| place(table)),
        lost: lost.map(|table| place(table)).collect(),
        unread: unread
            .map(|route| format!("{} {}", route.kind.as_str(), route.name))
            .collect(),
        outcomes: connection::outcomes(destination, &facts)
            .into_iter()
            .map(|(at, decision)| outcome(at, &decision, labels))
            .collect(),
    }
}

fn place(table: &ConnectionTable) -> ConnectionPlace {
    let route = &table.route;
    ConnectionPlace {
        place: RulePlace {
            kind: route.kind.as_str(),
            route: route.name.to_string(),
            rule: 0,
            name: route.rule.name.as_ref().map(ToString::to_string),
        },
        hostnames: route.hostnames.iter().map(ToString::to_string).collect(),
    }
}

fn outcome(
    at: Option<usize>,
    decision: &ConnectionDecision<'_>,
    labels: Option<&Labels>,
) -> ConnectionOutcome {
    let (route, result) = match decision {
        ConnectionDecision::Forward(forward) => {
            let settings = &forward.backend.settings;
            let result = ConnectionResult::Forward {
                backend: forward.backend.name.to_string(),
                retry: setting(forward.retry, connect_retry_text),
                connect_timeout: setting(&settings.connect_timeout, debug),
                idle: setting(&settings.tcp_idle, duration),
                algorithm: setting(&settings.algorithm, debug),
                limits: setting(&settings.limits, breaker::limits_text),
                outlier_detection: outlier::told(settings),
                health_check: health::told(settings),
                endpoints: endpoints(&View::new(forward.backend, labels), None),
            };
            (forward.route, result)
        }
        ConnectionDecision::Refuse(refused) => {
            let result = ConnectionResult::Refuse {
                reason: refused.refusal.reason(),
                detail: refusal_text(&refused.refusal),
            };
            (refused.route, result)
        }
    };
    let chance = route.zip(at).and_then(|(table, at)| {
        let chosen = table.route.rule.backends.get(at)?;
        Some(percent(chosen.weight.into(), table.total_weight))
    });
    ConnectionOutcome {
        percent: chance.unwrap_or(100.0),
        backend_ref: at,
        result,
    }
}

impl Display for ConnectionExplanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.server_name {
            Some(name) => writeln!(f, "TLS connection for {name}")?,
            None => writeln!(f, "TCP connection")?,
        }
        writeln!(
            f,
            "to {} ({}), seen from {}",
            self.destination, self.protocol, self.consumer
        )?;
        match &self.matched {
            Some(matched) => writeln!(f, "rule: {matched}")?,
            None if self.lost.is_empty() => {
                writeln!(
                    f,
                    "rule: none, the destination has no routes of connections"
                )?;
            }
            None => writeln!(f, "rule: none matches")?,
        }
        if !self.lost.is_empty() {
            writeln!(f, "lost:")?;
        }
        for lost in &self.lost {
            writeln!(f, "  {lost}")?;
        }
        for unread in &self.unread {
            writeln!(f, "  {unread}: is about requests, which are not read here")?;
        }
        for outcome in &self.outcomes {
            write!(f, "{outcome}")?;
        }
        Ok(())
    }
}

impl Display for ConnectionPlace {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}: takes ", self.place)?;
        match &self.hostnames[..] {
            [] => f.write_str("every connection"),
            names => f.write_str(&names.join(", ")),
        }
    }
}

impl Display for ConnectionOutcome {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.result {
            ConnectionResult::Forward {
                backend,
                retry,
                connect_timeout,
                idle,
                algorithm,
                limits,
                outlier_detection,
                health_check,
                endpoints,
            } => {
                writeln!(f, "{} %: forward to {backend}", self.percent)?;
                let settings = [
                    ("retry", retry),
                    ("connect timeout", connect_timeout),
                    ("idle", idle),
                    ("algorithm", algorithm),
                    ("limits", limits),
                ];
                text::settings(f, &settings)?;
                let optional = [
                    ("outlier detection", outlier_detection),
                    ("health check", health_check),
                ];
                for (name, setting) in optional {
                    if let Some(setting) = setting {
                        text::settings(f, &[(name, setting)])?;
                    }
                }
                text::endpoints(f, endpoints)
            }
            ConnectionResult::Refuse { reason, detail } => {
                writeln!(f, "{} %: close: {detail}", self.percent)?;
                writeln!(f, "  reason: {reason}")
            }
        }
    }
}
