//! Checks of the section that asks endpoints whether they work.

use crate::error::Faults;
use crate::model::health::{
    HealthCheck, HttpQuestion, INTERVALS, MAX_EXPECTED, MAX_IN_A_ROW, METHODS, Question, TIMEOUTS,
    is_path, is_service,
};
use crate::model::policy::StatusRange;
use crate::name::Hostname;
use crate::resource::health::{HealthCheckSection, HttpCheckField};
use crate::translate::check_outlier::within;
use crate::translate::check_reference::at_most;
use crate::translate::check_status::{FINAL, status_range};
use crate::translate::check_workload::whole;

/// Checks `healthCheck`; `None` if it does not say what to ask.
pub(super) fn health_check(
    section: &HealthCheckSection,
    faults: &mut Faults,
) -> Option<HealthCheck> {
    let question = question(section, faults);
    let default = HealthCheck::asking(Question::Tcp);
    let interval = within("interval", section.interval.as_ref(), INTERVALS, faults);
    let timeout = within("timeout", section.timeout.as_ref(), TIMEOUTS, faults);
    let number = |field: &str, given: Option<u32>, least: u32, most: u32, faults: &mut Faults| {
        faults.field(field, |faults| whole(given?.into(), least, most, faults))
    };
    let jitter = number("jitter", section.jitter, 0, 100, faults);
    let unhealthy = section.unhealthy_after;
    let unhealthy = number("unhealthyAfter", unhealthy, 1, MAX_IN_A_ROW, faults);
    let healthy = section.healthy_after;
    let healthy = number("healthyAfter", healthy, 1, MAX_IN_A_ROW, faults);
    Some(HealthCheck {
        question: question?,
        interval: interval.unwrap_or(default.interval),
        jitter_percent: jitter.unwrap_or(default.jitter_percent),
        timeout: timeout.unwrap_or(default.timeout),
        unhealthy_after: unhealthy.unwrap_or(default.unhealthy_after),
        healthy_after: healthy.unwrap_or(default.healthy_after),
    })
}

fn question(section: &HealthCheckSection, faults: &mut Faults) -> Option<Question> {
    match (&section.http, &section.tcp, &section.grpc) {
        (Some(http), None, None) => {
            let question = faults.field("http", |faults| self::http(http, faults));
            Some(Question::Http(question))
        }
        (None, Some(_), None) => Some(Question::Tcp),
        (None, None, Some(grpc)) => {
            let service = grpc.service.clone().unwrap_or_default();
            if !is_service(&service) {
                faults.field("grpc", |faults| {
                    faults.field("service", |faults| {
                        faults.refuse("is not the name of a gRPC service");
                    });
                });
            }
            Some(Question::Grpc(service))
        }
        _ => {
            faults.refuse("needs exactly one of http, tcp and grpc");
            None
        }
    }
}

fn http(section: &HttpCheckField, faults: &mut Faults) -> HttpQuestion {
    if !is_path(&section.path) {
        faults.field("path", |faults| {
            faults.refuse("is not a path that begins with /, of at most 1024 visible characters");
        });
    }
    let host = faults.field("host", |faults| {
        let host = section.host.as_ref()?;
        faults.take(host.parse::<Hostname>())
    });
    let method = section.method.clone().unwrap_or_else(|| "GET".to_owned());
    if !METHODS.contains(&method.as_str()) {
        faults.field("method", |faults| {
            faults.refuse("is not GET, HEAD or OPTIONS");
        });
    }
    let mut expected = Vec::new();
    faults.field("expectedStatus", |faults| {
        let Some(listed) = &section.expected_status else {
            expected.push(StatusRange { from: 200, to: 299 });
            return;
        };
        if listed.is_empty() {
            faults.refuse("is empty: no check could pass");
        }
        at_most(listed.len(), MAX_EXPECTED, "statuses", faults);
        for (index, text) in listed.iter().enumerate().take(MAX_EXPECTED) {
            expected.extend(faults.index(index, |faults| status_range(text, FINAL, faults)));
        }
    });
    HttpQuestion {
        method,
        path: section.path.clone(),
        host,
        expected,
    }
}
