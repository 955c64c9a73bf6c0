//! What an operator asks a running proxy: one pure answer by path and body, behind three doors: the
//! Unix socket, the control stream's reverse calls, and the read-only observe listener.
//!
//! May use `config`, `bootstrap`, `telemetry` and `identity`; the data path lends its endpoints'
//! health as a closure. No answer carries a key or a token.

mod certificates;
mod dump;
mod explain;
mod listeners;
mod serve;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mesh_api::model::entry::EntryName;
use serde_json::{Value, json};

use crate::bootstrap::Bootstrap;
pub use crate::config::{AdminAnswer, AdminHandler};
use crate::config::{Config, EntryState};

pub use crate::admin::serve::{AdminSocket, Observe, ServeError};
use crate::probe;

/// Tells the health of every endpoint, as JSON.
pub type EndpointHealth = Arc<dyn Fn() -> Value + Send + Sync>;

/// Tells what of the data path is waited for; empty once it can carry traffic.
pub type WaitingFor = Arc<dyn Fn() -> Vec<&'static str> + Send + Sync>;

/// What the answers are made from.
#[derive(Clone)]
pub struct Admin {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    bootstrap: Bootstrap,
    health: EndpointHealth,
    waiting_for: WaitingFor,
    is_draining: AtomicBool,
}

/// Longest wait on `/started`, and between looks.
const STARTED_WAIT: Duration = Duration::from_secs(8);
const STARTED_LOOK: Duration = Duration::from_millis(10);

/// The paths and what they tell.
const PATHS: [(&str, &str); 8] = [
    (
        "/ready",
        "200 once traffic can be served, else 503 and what is waited for",
    ),
    (
        "/config",
        "listeners, destinations, inbound side, mesh, subscriptions with versions",
    ),
    (
        "/certificates",
        "identity, life of the certificate, chain, roots, clock",
    ),
    ("/endpoints", "health and ejections of the endpoints in use"),
    (
        "/explain",
        "with a body {host, port, method, path, headers}: what happens to a request",
    ),
    ("/metrics", "Prometheus text"),
    ("/version", "of this build"),
    ("/", "this list"),
];

impl Admin {
    /// Answers from `config`; `health` is asked on `/endpoints`, `waiting_for` on `/ready`.
    pub fn new(
        config: Config,
        bootstrap: Bootstrap,
        health: EndpointHealth,
        waiting_for: WaitingFor,
    ) -> Self {
        let inner = Inner {
            config,
            bootstrap,
            health,
            waiting_for,
            is_draining: AtomicBool::new(false),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Notes that the proxy drains: it is no longer ready.
    pub fn draining(&self) {
        self.inner.is_draining.store(true, Ordering::Release);
    }

    /// For the control stream's reverse calls.
    pub fn handler(&self) -> AdminHandler {
        let admin = self.clone();
        Arc::new(move |path, body| admin.handle(path, body))
    }

    /// What the observe listener alone answers: a probe of the app, or readiness that is waited for.
    async fn observe(&self, path: &str) -> Option<AdminAnswer> {
        if path == "/started" {
            return Some(self.started().await);
        }
        let bootstrap = &self.inner.bootstrap;
        let wanted = bootstrap.probes.find(path)?;
        let app = bootstrap.app_at(bootstrap.address);
        let answer = probe::relay(wanted, app).await;
        Some(AdminAnswer {
            status: answer.status,
            body: answer.body,
        })
    }

    /// As `/ready`, once that is the case: who waits for the proxy need not ask again and again.
    async fn started(&self) -> AdminAnswer {
        let end = Instant::now() + STARTED_WAIT;
        loop {
            let answer = self.inner.ready();
            if answer.status == 200 || Instant::now() >= end {
                return answer;
            }
            tokio::time::sleep(STARTED_LOOK).await;
        }
    }

    /// The answer to `path` (a query is passed over) with `body`.
    pub fn handle(&self, path: &str, body: &[u8]) -> AdminAnswer {
        let inner = &*self.inner;
        let (path, _) = path.split_once('?').unwrap_or((path, ""));
        match path {
            "/" => answer(200, &paths()),
            "/ready" => inner.ready(),
            "/config" => answer(200, &dump::config(&inner.config, &inner.bootstrap)),
            "/certificates" => inner.certificates(),
            "/endpoints" => answer(200, &(inner.health)()),
            "/explain" => explain::answer(&inner.config, body),
            "/metrics" => AdminAnswer {
                status: 200,
                body: inner.config.telemetry().render().into_bytes(),
            },
            "/version" => answer(200, &json!({ "version": mesh_api::version() })),
            _ => refuse(404, "no such path; / lists them"),
        }
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

impl Inner {
    fn ready(&self) -> AdminAnswer {
        let snapshot = self.config.snapshot();
        let status = self.config.status();
        let own = &self.bootstrap.workload;
        let inbound = EntryName::Inbound(own.clone()).to_string();
        let state = status.entries.get(&inbound).map(|entry| entry.state);
        let is_answered = snapshot.inbound.contains_key(own) || state == Some(EntryState::Absent);
        let mut waiting = (self.waiting_for)();
        for (is_there, what) in [
            (self.config.identity().current().is_some(), "certificate"),
            (snapshot.mesh.is_some(), "mesh"),
            (is_answered, "inbound"),
        ] {
            if !is_there {
                waiting.push(what);
            }
        }
        let is_draining = self.is_draining.load(Ordering::Acquire);
        let is_ready = waiting.is_empty() && !is_draining;
        let body = json!({
            "ready": is_ready,
            "draining": is_draining,
            "waitingFor": waiting,
            "workload": own,
            "connected": status.connected,
        });
        answer(if is_ready { 200 } else { 503 }, &body)
    }

    fn certificates(&self) -> AdminAnswer {
        match self.config.identity().current() {
            Some(held) => answer(200, &certificates::certificates(&held)),
            None => refuse(503, "no certificate yet"),
        }
    }
}

fn paths() -> Value {
    let path = |(path, help): &(&str, &str)| json!({ "path": path, "tells": help });
    PATHS.iter().map(path).collect()
}

/// A JSON answer.
fn answer(status: u16, body: &impl serde::Serialize) -> AdminAnswer {
    match serde_json::to_vec(body) {
        Ok(body) => AdminAnswer { status, body },
        Err(_) => refuse(500, "the answer does not encode"),
    }
}

/// A JSON answer that says why there is none.
fn refuse(status: u16, reason: &str) -> AdminAnswer {
    AdminAnswer {
        status,
        body: json!({ "error": reason }).to_string().into_bytes(),
    }
}

#[cfg(test)]
mod tests;
