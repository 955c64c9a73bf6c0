//! Health checks as text.

use crate::decide::explanation::setting::{Setting, debug, setting};
use crate::model::health::{HealthCheck, Question};
use crate::model::policy::{BackendSettings, StatusRange};

/// What endpoints are asked, where they are.
pub(super) fn told(settings: &BackendSettings) -> Option<Setting> {
    let health_check = settings.health_check.as_ref()?;
    Some(setting(health_check, health_text))
}

/// What is asked, how often, and what follows.
fn health_text(check: &HealthCheck) -> String {
    let asked = match &check.question {
        Question::Http(http) => {
            let host = http.host.as_ref();
            let host = host.map_or_else(String::new, |host| format!(" of {host}"));
            let expected: Vec<_> = http.expected.iter().copied().map(range).collect();
            let expected = expected.join(", ");
            format!("{} {}{host} for {expected}", http.method, http.path)
        }
        Question::Tcp => "a connection".to_owned(),
        Question::Grpc(service) if service.is_empty() => "the gRPC server's health".to_owned(),
        Question::Grpc(service) => format!("the health of {service}"),
    };
    format!(
        "{asked} every {} and up to {} % more, within {}; unhealthy after {}, healthy after {}",
        debug(&check.interval),
        check.jitter_percent,
        debug(&check.timeout),
        check.unhealthy_after,
        check.healthy_after,
    )
}

fn range(range: StatusRange) -> String {
    if range.from == range.to {
        range.from.to_string()
    } else {
        format!("{}-{}", range.from, range.to)
    }
}
