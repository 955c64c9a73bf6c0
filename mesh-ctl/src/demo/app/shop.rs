//! `shop`: a page with live counts, fed by calls to the catalog through the sidecar.

mod beside;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use super::Listen;
use super::content::{Content, Reply, json, reply, set};
use super::serve::{App, Call, serve};
use crate::source::http::{Answer, Connection, get};

const PAGE: &str = include_str!("shop.html");
/// Responses shown.
const LAST: usize = 12;
/// Instances counted; the demo has far fewer.
const MAX_INSTANCES: usize = 100;

/// `meshctl demo-app shop`.
#[derive(Clone, Debug, Args)]
pub(super) struct Settings {
    #[command(flatten)]
    listen: Listen,
    /// Where the sidecar takes calls to the catalog.
    #[arg(long)]
    catalog: SocketAddr,
    #[command(flatten)]
    others: beside::Others,
    /// Calls per second.
    #[arg(long, default_value_t = 10)]
    rate: u32,
}

/// What the page shows.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    calls: u64,
    failed: u64,
    versions: BTreeMap<String, u64>,
    instances: BTreeMap<String, u64>,
    last: VecDeque<Line>,
    /// The last answer by each other protocol.
    beside: BTreeMap<&'static str, String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    number: u64,
    status: u16,
    version: String,
    instance: String,
    micros: u128,
    error: String,
}

struct Shop {
    counts: Arc<Mutex<Counts>>,
}

/// Serves the page and calls the catalog.
pub(super) async fn run(settings: Settings) -> anyhow::Result<()> {
    let counts = Arc::<Mutex<Counts>>::default();
    let app = Arc::new(Shop {
        counts: Arc::clone(&counts),
    });
    let note = |protocol, answer| {
        let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.beside.insert(protocol, answer);
    };
    let others = settings.others;
    tokio::select! {
        served = serve(settings.listen.address(), app) => served,
        () = call_catalog(settings, &counts) => Ok(()),
        () = beside::ask(others, note) => Ok(()),
    }
}

impl App for Shop {
    async fn answer(&self, call: Call) -> Reply {
        match call.path() {
            "/" => {
                let mut page = reply(200, "text/html; charset=utf-8", Content::whole(PAGE));
                let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'";
                set(&mut page, "content-security-policy", policy);
                page
            }
            "/api/state" => {
                let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
                let mut state = json(200, &serde_json::to_value(&*counts).unwrap_or_default());
                set(&mut state, "cache-control", "no-store");
                state
            }
            "/favicon.ico" => reply(204, "image/x-icon", Content::whole("")),
            _ => json(
                404,
                &serde_json::json!({ "error": "the shop has one page" }),
            ),
        }
    }
}

/// Calls for as long as it is polled, one at a time.
async fn call_catalog(settings: Settings, counts: &Mutex<Counts>) {
    let period = Duration::from_secs(1) / settings.rate.clamp(1, 1000);
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut connection = None;
    let mut has_begun = false;
    for number in 0.. {
        ticks.tick().await;
        let started = Instant::now();
        let answer = ask(settings.catalog, number, &mut connection).await;
        let line = Line::of(number, started.elapsed(), &answer);
        if answer.is_err() {
            connection = None;
        }
        // Until the first good answer the mesh is still starting: nothing is counted.
        has_begun |= line.status == 200;
        if has_begun {
            let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
            counts.add(line);
        }
    }
}

async fn ask(
    catalog: SocketAddr,
    number: u64,
    connection: &mut Option<Connection>,
) -> anyhow::Result<Answer> {
    let open = match connection {
        Some(open) if open.is_open() => open,
        closed => closed.insert(Connection::open(catalog).await?),
    };
    open.exchange(get(&format!("/items/{number}"), "catalog")?)
        .await
}

impl Line {
    fn of(number: u64, took: Duration, answer: &anyhow::Result<Answer>) -> Self {
        let header = |name| {
            answer
                .as_ref()
                .map_or("", |answer| answer.header(name))
                .to_owned()
        };
        Self {
            number,
            status: answer.as_ref().map_or(0, |answer| answer.status),
            version: header("x-version"),
            instance: header("x-instance"),
            micros: took.as_micros(),
            error: match answer {
                Ok(_) => header("mesh-error"),
                Err(error) => format!("{error:#}"),
            },
        }
    }
}

impl Counts {
    fn add(&mut self, line: Line) {
        self.calls += 1;
        if line.status == 200 {
            *self.versions.entry(line.version.clone()).or_default() += 1;
            if self.instances.len() < MAX_INSTANCES {
                *self.instances.entry(line.instance.clone()).or_default() += 1;
            }
        } else {
            self.failed += 1;
        }
        self.last.push_front(line);
        self.last.truncate(LAST);
    }
}
