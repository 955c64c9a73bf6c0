//! Proxies as the control plane knows them: what they were sent, took and refused, and how to ask
//! them something. May use nothing of this crate.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mesh_api::error::Invalid;
use mesh_api::model::entry::EntryName;
use mesh_api::name::{Identity, ObjectName};
use serde::Serialize;
use tokio::sync::{Notify, mpsc, oneshot};

/// Every proxy that is or was connected.
#[derive(Default)]
pub struct Proxies {
    held: Mutex<BTreeMap<ObjectName, Proxy>>,
}

/// One proxy.
struct Proxy {
    connection: u64,
    identity: Identity,
    build: String,
    connected: bool,
    since: Instant,
    entries: BTreeMap<EntryName, EntryState>,
    running: HashMap<String, String>,
    certificate_not_after: Option<i64>,
    certificate_serial: String,
    asks: mpsc::Sender<Ask>,
    replaced: Arc<Notify>,
}

/// How far one entry got.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryState {
    /// What was sent last.
    pub sent: Sent,
    /// The version taken last.
    pub acked: Option<String>,
    /// When `sent` went out, while it is not answered.
    pub waiting_since: Option<Instant>,
    /// Why `sent` was refused.
    pub faults: Vec<Invalid>,
}

/// What was last said of an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Sent {
    /// Nothing yet.
    #[default]
    Nothing,
    /// This version.
    Version(String),
    /// That there is no such thing.
    Absent,
}

/// A question to a proxy's admin side.
pub struct Ask {
    /// As on the admin socket.
    pub path: String,
    /// JSON or empty.
    pub body: Vec<u8>,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Answer>,
}

/// A proxy's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// As in HTTP.
    pub status: u16,
    /// JSON.
    pub body: Vec<u8>,
}

/// Why a proxy gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// Never seen.
    #[error("no proxy of that name is known")]
    Unknown,
    /// Known, not connected.
    #[error("the proxy is not connected")]
    Disconnected,
    /// No answer in time.
    #[error("the proxy did not answer within 5 s")]
    Late,
}

/// What a session gets for its proxy.
pub struct Seat {
    /// Names this connection in later calls.
    pub connection: u64,
    /// Questions to pass on.
    pub asks: mpsc::Receiver<Ask>,
    /// Told when a newer connection of the same proxy took over.
    pub replaced: Arc<Notify>,
}

/// A proxy as `proxy-status` shows it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxyRow {
    /// `namespace/name`.
    pub workload: ObjectName,
    /// Its certificate's identity.
    pub identity: Identity,
    /// Its state as a whole.
    pub state: State,
    /// Seconds since that state began.
    pub age_seconds: u64,
    /// Its entries, by name.
    pub entries: Vec<EntryRow>,
    /// When its certificate ends, seconds since the epoch, as it reported.
    pub certificate_not_after: Option<i64>,
    /// Its certificate's serial, as it reported.
    pub certificate_serial: String,
    /// Its build.
    pub build: String,
}

/// One entry of a [`ProxyRow`].
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EntryRow {
    /// The entry's name.
    pub name: String,
    /// The version sent last; `absent` if it was said not to exist.
    pub sent: Option<String>,
    /// The version taken last.
    pub acked: Option<String>,
    /// The version it reported to run.
    pub running: Option<String>,
    /// Why the version sent last was refused.
    pub faults: Vec<FaultRow>,
}

/// One fault of an entry.
#[derive(Clone, Debug, Serialize)]
pub struct FaultRow {
    /// The field.
    pub path: String,
    /// What is wrong.
    pub reason: String,
}

/// How a proxy stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    /// It took all that was sent.
    Synced,
    /// Something sent is not answered yet.
    Stale,
    /// It refused something.
    Nacked,
    /// It is not connected.
    Disconnected,
}

impl Proxies {
    /// Enters a proxy; a connection it had is told to end.
    pub fn connect(&self, workload: &ObjectName, identity: &Identity, build: &str) -> Seat {
        let (sender, asks) = mpsc::channel(MAX_ASKS);
        let replaced = Arc::new(Notify::new());
        let mut held = self.lock();
        let connection = held.get(workload).map_or(0, |proxy| proxy.connection + 1);
        let proxy = Proxy {
            connection,
            identity: identity.clone(),
            build: build.to_owned(),
            connected: true,
            since: Instant::now(),
            entries: BTreeMap::new(),
            running: HashMap::new(),
            certificate_not_after: None,
            certificate_serial: String::new(),
            asks: sender,
            replaced: Arc::clone(&replaced),
        };
        if let Some(before) = held.insert(workload.clone(), proxy) {
            before.replaced.notify_one();
        }
        forget_old(&mut held);
        Seat {
            connection,
            asks,
            replaced,
        }
    }

    /// Notes that a connection ended.
    pub fn disconnect(&self, workload: &ObjectName, connection: u64) {
        self.update(workload, connection, |proxy| {
            proxy.connected = false;
            proxy.since = Instant::now();
        });
    }

    /// Notes how far each entry got.
    pub fn set_entries(
        &self,
        workload: &ObjectName,
        connection: u64,
        entries: &BTreeMap<EntryName, EntryState>,
    ) {
        self.update(workload, connection, |proxy| {
            let before = proxy.state();
            proxy.entries.clone_from(entries);
            if proxy.state() != before {
                proxy.since = Instant::now();
            }
        });
    }

    /// Notes what a proxy says that it runs.
    pub fn set_report(
        &self,
        workload: &ObjectName,
        connection: u64,
        report: mesh_api::wire::generated::Report,
    ) {
        self.update(workload, connection, |proxy| {
            proxy.certificate_not_after = Some(report.certificate_not_after);
            proxy.certificate_serial = report.certificate_serial.chars().take(64).collect();
            proxy.running = report
                .running
                .into_iter()
                .take(MAX_REPORTED)
                .map(|held| (held.name, held.version))
                .collect();
        });
    }

    /// Every proxy, by workload.
    pub fn rows(&self) -> Vec<ProxyRow> {
        self.lock()
            .iter()
            .map(|(workload, proxy)| proxy.row(workload))
            .collect()
    }

    /// How many proxies stand how.
    pub fn counts(&self) -> BTreeMap<State, usize> {
        let mut counts = BTreeMap::new();
        for proxy in self.lock().values() {
            *counts.entry(proxy.state()).or_default() += 1;
        }
        counts
    }

    /// Asks a proxy's admin side.
    ///
    /// # Errors
    /// A proxy that is unknown, away or silent.
    pub async fn ask(
        &self,
        workload: &ObjectName,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Answer, NoAnswer> {
        let asks = {
            let held = self.lock();
            let proxy = held.get(workload).ok_or(NoAnswer::Unknown)?;
            if !proxy.connected {
                return Err(NoAnswer::Disconnected);
            }
            proxy.asks.clone()
        };
        let (answer, answered) = oneshot::channel();
        let path = path.to_owned();
        let exchange = async {
            let ask = Ask { path, body, answer };
            asks.send(ask).await.map_err(|_| NoAnswer::Disconnected)?;
            answered.await.map_err(|_| NoAnswer::Disconnected)
        };
        tokio::time::timeout(ANSWER_TIME, exchange)
            .await
            .map_err(|_| NoAnswer::Late)?
    }

    fn update(&self, workload: &ObjectName, connection: u64, change: impl FnOnce(&mut Proxy)) {
        if let Some(proxy) = self.lock().get_mut(workload)
            && proxy.connection == connection
        {
            change(proxy);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ObjectName, Proxy>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Proxy {
    fn state(&self) -> State {
        if !self.connected {
            return State::Disconnected;
        }
        let mut state = State::Synced;
        for entry in self.entries.values() {
            if !entry.faults.is_empty() {
                return State::Nacked;
            }
            if entry.waiting_since.is_some() || entry.sent == Sent::Nothing {
                state = State::Stale;
            }
        }
        state
    }

    fn row(&self, workload: &ObjectName) -> ProxyRow {
        let entries = self.entries.iter().map(|(name, entry)| {
            let name = name.to_string();
            EntryRow {
                sent: match &entry.sent {
                    Sent::Nothing => None,
                    Sent::Version(version) => Some(version.clone()),
                    Sent::Absent => Some("absent".into()),
                },
                acked: entry.acked.clone(),
                running: self.running.get(&name).cloned(),
                faults: entry.faults.iter().map(FaultRow::of).collect(),
                name,
            }
        });
        ProxyRow {
            workload: workload.clone(),
            identity: self.identity.clone(),
            state: self.state(),
            age_seconds: self.since.elapsed().as_secs(),
            entries: entries.collect(),
            certificate_not_after: self.certificate_not_after,
            certificate_serial: self.certificate_serial.clone(),
            build: self.build.clone(),
        }
    }
}

impl FaultRow {
    /// The fault as text.
    pub fn of(fault: &Invalid) -> Self {
        Self {
            path: fault.path.clone(),
            reason: fault.reason.clone(),
        }
    }
}

/// Drops the proxies gone longest when there are too many.
fn forget_old(held: &mut BTreeMap<ObjectName, Proxy>) {
    held.retain(|_, proxy| proxy.connected || proxy.since.elapsed() < REMEMBERED);
    while held.len() > MAX_PROXIES {
        let oldest = held
            .iter()
            .filter(|(_, proxy)| !proxy.connected)
            .min_by_key(|(_, proxy)| proxy.since)
            .map(|(name, _)| name.clone());
        match oldest {
            Some(name) => drop(held.remove(&name)),
            None => return,
        }
    }
}

/// How long a proxy that left is shown.
const REMEMBERED: Duration = Duration::from_hours(1);
const MAX_PROXIES: usize = 40_000;
const MAX_ASKS: usize = 16;
const MAX_REPORTED: usize = 8_192;
const ANSWER_TIME: Duration = Duration::from_secs(5);
