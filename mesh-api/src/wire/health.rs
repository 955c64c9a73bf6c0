//! How endpoints are asked whether they work.

use crate::error::Faults;
use crate::model::health::{
    HealthCheck, HttpQuestion, INTERVALS, MAX_EXPECTED, MAX_IN_A_ROW, METHODS, Question, TIMEOUTS,
    is_path, is_service,
};
use crate::model::origin::Sourced;
use crate::model::policy::StatusRange;
use crate::wire::generated as wire;
use crate::wire::outlier::within;
use crate::wire::read;

use wire::health_check::Question as Asked;

pub(super) fn write(from: &Sourced<HealthCheck>) -> wire::HealthCheck {
    let check = &from.value;
    let question = match &check.question {
        Question::Http(http) => Asked::Http(wire::HttpQuestion {
            method: http.method.clone(),
            path: http.path.clone(),
            host: http
                .host
                .as_ref()
                .map_or_else(String::new, ToString::to_string),
            expected: http.expected.iter().copied().map(write_range).collect(),
        }),
        Question::Tcp => Asked::Tcp(wire::TcpQuestion {}),
        Question::Grpc(service) => Asked::Grpc(wire::GrpcQuestion {
            service: service.clone(),
        }),
    };
    wire::HealthCheck {
        question: Some(question),
        interval_nanos: read::nanos(check.interval),
        jitter_percent: check.jitter_percent,
        timeout_nanos: read::nanos(check.timeout),
        unhealthy_after: check.unhealthy_after,
        healthy_after: check.healthy_after,
        origin: read::write_origin(&from.origin),
    }
}

fn write_range(range: StatusRange) -> wire::StatusRange {
    wire::StatusRange {
        from: range.from.into(),
        to: range.to.into(),
    }
}

pub(super) fn read(from: &wire::HealthCheck, f: &mut Faults) -> Option<Sourced<HealthCheck>> {
    let question = question(from.question.as_ref(), f);
    let interval = within("interval", from.interval_nanos, INTERVALS, f);
    let jitter = read::number("jitter", from.jitter_percent, 0..=100, f);
    let timeout = within("timeout", from.timeout_nanos, TIMEOUTS, f);
    let row = 1..=MAX_IN_A_ROW;
    let unhealthy = read::number("unhealthyAfter", from.unhealthy_after, row.clone(), f);
    let healthy = read::number("healthyAfter", from.healthy_after, row, f);
    let check = HealthCheck {
        question: question?,
        interval: interval?,
        jitter_percent: jitter?,
        timeout: timeout?,
        unhealthy_after: unhealthy?,
        healthy_after: healthy?,
    };
    read::sourced(Some(check), "origin", from.origin.as_ref(), f)
}

fn question(from: Option<&Asked>, f: &mut Faults) -> Option<Question> {
    match from {
        Some(Asked::Http(http)) => f.field("http", |f| self::http(http, f).map(Question::Http)),
        Some(Asked::Tcp(_)) => Some(Question::Tcp),
        Some(Asked::Grpc(grpc)) if is_service(&grpc.service) => {
            Some(Question::Grpc(grpc.service.clone()))
        }
        Some(Asked::Grpc(_)) => {
            f.field("grpc", |f| f.refuse("is not the name of a service"));
            None
        }
        None => {
            f.refuse("asks nothing");
            None
        }
    }
}

fn http(from: &wire::HttpQuestion, f: &mut Faults) -> Option<HttpQuestion> {
    let is_method = METHODS.contains(&from.method.as_str());
    if !is_method {
        f.field("method", |f| f.refuse("is not GET, HEAD or OPTIONS"));
    }
    let is_path = is_path(&from.path);
    if !is_path {
        f.field("path", |f| f.refuse("is not a path"));
    }
    let host = read::optional("host", &from.host, f);
    if from.expected.is_empty() {
        f.field("expected", |f| f.refuse("is empty"));
        return None;
    }
    let expected = read::list("expected", &from.expected, MAX_EXPECTED, f, |range, f| {
        let from = read::number("from", range.from, 100..=599, f);
        let to = read::number("to", range.to, 100..=599, f);
        let range = StatusRange {
            from: from?,
            to: to?,
        };
        if range.from > range.to {
            f.refuse("is no range");
            return None;
        }
        Some(range)
    });
    if !(is_method && is_path) {
        return None;
    }
    Some(HttpQuestion {
        method: from.method.clone(),
        path: from.path.clone(),
        host: host?,
        expected: expected?,
    })
}
