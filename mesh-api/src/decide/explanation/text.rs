//! An explanation as text for people.

use std::fmt::{self, Display, Formatter};

use crate::decide::explanation::{
    Change, Endpoint, Explanation, Forward, Head, LostMatch, Outcome, Result, RulePlace, Setting,
};

impl Display for Explanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Head {
            method,
            target,
            host,
            ..
        } = &self.request;
        writeln!(f, "{method} {target} (host {host})")?;
        writeln!(
            f,
            "to {} ({}), seen from {}",
            self.destination, self.protocol, self.consumer
        )?;
        match &self.matched {
            Some(matched) => {
                writeln!(f, "rule: {}", matched.place)?;
                writeln!(
                    f,
                    "  matches[{}]: {}",
                    matched.match_index, matched.conditions
                )?;
            }
            None if self.lost.is_empty() => {
                writeln!(f, "rule: none, the destination has no routes")?;
            }
            None => writeln!(f, "rule: none matches")?,
        }
        if !self.lost.is_empty() {
            writeln!(f, "lost:")?;
        }
        for lost in &self.lost {
            writeln!(f, "  {}", lost.place)?;
            for lost in &lost.matches {
                writeln!(f, "    {lost}")?;
            }
        }
        for Setting { value, origin } in &self.faults {
            writeln!(f, "fault: {value} [{origin}]")?;
        }
        for Setting { value, origin } in &self.mirrors {
            writeln!(f, "mirror: {value} [{origin}]")?;
        }
        for outcome in &self.outcomes {
            write!(f, "{outcome}")?;
        }
        Ok(())
    }
}

impl Display for RulePlace {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} spec.rules[{}]", self.kind, self.route, self.rule)?;
        match &self.name {
            Some(name) => write!(f, " ({name})"),
            None => Ok(()),
        }
    }
}

impl Display for LostMatch {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "matches[{}]: ", self.match_index)?;
        match &self.miss {
            Some(miss) => write!(f, "{miss}"),
            None => write!(f, "fits, but is less specific ({})", self.conditions),
        }
    }
}

impl Display for Outcome {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.result {
            Result::Forward(forward) => {
                writeln!(f, "{} %: forward to {}", self.percent, forward.backend)?;
                write!(f, "{forward}")
            }
            Result::Redirect {
                status,
                location,
                response_headers,
            } => {
                writeln!(f, "{} %: redirect {status} to {location}", self.percent)?;
                list(f, response_headers)
            }
            Result::Answer {
                status,
                by,
                fields,
                response_headers,
                body,
            } => {
                writeln!(f, "{} %: answer {status} by {by}", self.percent)?;
                pairs(f, fields)?;
                list(f, response_headers)?;
                for line in body.lines() {
                    writeln!(f, "  | {line}")?;
                }
                Ok(())
            }
            Result::Refuse {
                status,
                grpc,
                detail,
                mesh_error,
                ..
            } => {
                write!(f, "{} %: refuse {status}", self.percent)?;
                if let Some(code) = grpc {
                    write!(f, " (gRPC {code})")?;
                }
                writeln!(f, ": {detail}")?;
                writeln!(f, "  mesh-error: {mesh_error}")
            }
        }
    }
}

impl Display for Forward {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Head {
            method,
            target,
            host,
            fields,
        } = &self.request;
        writeln!(f, "  {method} {target}")?;
        writeln!(f, "  host: {host}")?;
        for (name, value) in fields {
            writeln!(f, "  {name}: {value}")?;
        }
        list(f, &self.response_headers)?;
        pairs(f, self.cors.as_deref().unwrap_or_default())?;
        let settings: [(&str, &Setting); 10] = [
            ("request timeout", &self.request_timeout),
            ("per-try timeout", &self.per_try_timeout),
            ("stream idle", &self.stream_idle),
            ("max stream duration", &self.max_stream_duration),
            ("propagate deadline", &self.propagate_deadline),
            ("retry", &self.retry),
            ("connect timeout", &self.connect_timeout),
            ("algorithm", &self.algorithm),
            ("pool idle", &self.pool_idle),
            ("max connection age", &self.max_connection_age),
        ];
        self::settings(f, &settings)?;
        self::settings(f, &[("limits", &self.limits)])?;
        let kept = [
            ("outlier detection", &self.outlier_detection),
            ("health check", &self.health_check),
            ("stickiness", &self.stickiness),
            ("hash on", &self.hash_on),
            ("slow start", &self.slow_start),
            ("locality", &self.locality),
        ];
        for (name, setting) in kept {
            if let Some(setting) = setting {
                self::settings(f, &[(name, setting)])?;
            }
        }
        if let Some(kept_by) = &self.kept_by {
            writeln!(f, "  kept by: {kept_by}")?;
        }
        endpoints(f, &self.endpoints)
    }
}

fn list(f: &mut Formatter<'_>, changes: &[Change]) -> fmt::Result {
    for Change { kind, name, value } in changes {
        match value {
            Some(value) => writeln!(f, "  response: {kind} {name}: {value}")?,
            None => writeln!(f, "  response: {kind} {name}")?,
        }
    }
    Ok(())
}

/// Fields that the response gets.
fn pairs(f: &mut Formatter<'_>, fields: &[(String, String)]) -> fmt::Result {
    for (name, value) in fields {
        writeln!(f, "  response: set {name}: {value}")?;
    }
    Ok(())
}

/// Each value with its origin.
pub(super) fn settings(f: &mut Formatter<'_>, settings: &[(&str, &Setting)]) -> fmt::Result {
    for (name, Setting { value, origin }) in settings {
        writeln!(f, "  {name}: {value} [{origin}]")?;
    }
    Ok(())
}

/// Each endpoint with its chance.
pub(super) fn endpoints(f: &mut Formatter<'_>, endpoints: &[Endpoint]) -> fmt::Result {
    if endpoints.is_empty() {
        writeln!(f, "  no endpoints")?;
    }
    for endpoint in endpoints {
        write!(f, "  {} %: {}", endpoint.percent, endpoint.address)?;
        if let Some(workload) = &endpoint.workload {
            write!(f, " {workload}")?;
        }
        match (&endpoint.identity, &endpoint.tunnel) {
            (Some(identity), Some(tunnel)) => write!(f, " as {identity} at {tunnel}")?,
            _ => write!(f, " plain")?,
        }
        match (&endpoint.locality, endpoint.near) {
            (Some(locality), Some(near)) => write!(f, " in {locality} ({near})")?,
            (None, Some(near)) => write!(f, " ({near})")?,
            _ => {}
        }
        writeln!(f, "{}", if endpoint.stale { " STALE" } else { "" })?;
    }
    Ok(())
}
