//! Liveness, readiness and metrics in the clear, for the kubelet and for Prometheus.
//!
//! | request | answer |
//! |---|---|
//! | `GET /live` | 200 while the process runs |
//! | `GET /ready` | 200 once everything there is was read and proxies are served, else 503 and what is missing |
//! | `GET /metrics` | the text form of Prometheus |
//!
//! May use `web`, `serve` and `kubernetes`.

mod names;

use std::sync::Arc;
use std::sync::OnceLock;

use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use serde_json::json;
use tokio::net::TcpListener;

use crate::kubernetes::Synced;
use crate::serve::proxies::State;
use crate::serve::session::Shared;
use crate::web::{self, Answer, Refusal};

/// What is observed.
pub(crate) struct Observed {
    /// How far each watch is.
    pub(crate) synced: Synced,
    /// Set once proxies are served.
    pub(crate) serving: OnceLock<Shared>,
}

/// Serves until dropped.
pub(crate) async fn serve(listener: TcpListener, observed: Arc<Observed>) {
    let answer = move |request: Request<Incoming>| {
        let answer = observed.answer(request.uri().path());
        async move { answer }
    };
    web::serve(listener, None, None, answer).await;
}

impl Observed {
    fn answer(&self, path: &str) -> Answer {
        match path {
            "/live" => web::ok(&json!({ "live": true })),
            "/ready" => self.ready(),
            "/metrics" => {
                let kind = "text/plain; version=0.0.4";
                web::respond(StatusCode::OK, kind, self.metrics().into())
            }
            _ => web::refuse(&Refusal(StatusCode::NOT_FOUND, format!("no {path} here"))),
        }
    }

    fn ready(&self) -> Answer {
        let stopping = |shared: &Shared| *shared.stopping.borrow();
        if self.serving.get().is_some_and(|shared| !stopping(shared)) {
            return web::ok(&json!({ "ready": true }));
        }
        let states = self.synced.states();
        let waiting: Vec<&String> = states
            .iter()
            .filter(|(_, state)| !state.synced)
            .map(|(what, _)| what)
            .collect();
        let status = StatusCode::SERVICE_UNAVAILABLE;
        web::reply(
            status,
            &json!({ "ready": false, "waitingFor": waiting, "watches": states }),
        )
    }

    fn metrics(&self) -> String {
        let states = self.synced.states();
        let mut text = names::WATCH_LISTS.head();
        for (what, state) in &states {
            text.push_str(&names::WATCH_LISTS.sample(&[what], state.lists));
        }
        text.push_str(&names::WATCH_FAILING.head());
        for (what, state) in &states {
            let failing = u64::from(state.failing.is_some());
            text.push_str(&names::WATCH_FAILING.sample(&[what], failing));
        }
        let Some(shared) = self.serving.get() else {
            return text;
        };
        text.push_str(&names::PROXIES.head());
        for (state, count) in shared.proxies.counts() {
            let state = match state {
                State::Synced => "SYNCED",
                State::Stale => "STALE",
                State::Nacked => "NACKED",
                State::Disconnected => "DISCONNECTED",
            };
            text.push_str(&names::PROXIES.sample(&[state], count));
        }
        let refused = shared.publisher.read(crate::index::Index::refused_count);
        text.push_str(&names::RESOURCES_REFUSED.head());
        text.push_str(&names::RESOURCES_REFUSED.sample(&[], refused));
        let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
        let overdue = shared.publisher.read(|index| index.overdue(today.date()));
        text.push_str(&names::EXCEPTIONS_OVERDUE.head());
        text.push_str(&names::EXCEPTIONS_OVERDUE.sample(&[], overdue));
        text
    }
}
