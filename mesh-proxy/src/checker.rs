//! Asks endpoints whether they work, as policies say: once per proxy, on a thread of its own that is there only
//! where a policy asks for it. Endpoints are reached as requests reach them, by the same dialer.
//!
//! May use `context`, `probe` and what is above them.

mod ask;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use mesh_api::decide::health::{self, Health};
use mesh_api::model::backend::Endpoint;
use mesh_api::model::health::HealthCheck;
use mesh_api::model::outlier::OutlierDetection;
use mesh_api::name::DestinationName;
use mesh_api::snapshot::{BackendTable, Known, Snapshot};
use tokio::runtime::LocalOptions;
use tokio::task::{AbortHandle, JoinSet};

use crate::context::Shared;
use crate::telemetry::HealthChecked;
use crate::upstream::{Dialer, Dice};

/// Endpoints that one proxy checks; those beyond are taken to be well.
const MAX_CHECKED: usize = 1024;

type Key = (DestinationName, SocketAddr);

/// An endpoint that is to be checked.
#[derive(Clone)]
struct Wanted {
    backend: Arc<BackendTable>,
    endpoint: Endpoint,
    check: HealthCheck,
}

/// One that is.
struct Running {
    endpoint: Endpoint,
    check: HealthCheck,
    policy: Option<OutlierDetection>,
    task: AbortHandle,
}

impl Wanted {
    fn policy(&self) -> Option<OutlierDetection> {
        let policy = self.backend.settings.outlier_detection.as_ref();
        policy.map(|policy| policy.value)
    }
}

impl Running {
    /// Whether it is as `wanted`.
    fn is(&self, wanted: &Wanted) -> bool {
        self.check == wanted.check
            && self.endpoint == wanted.endpoint
            && self.policy == wanted.policy()
    }
}

/// What every check needs.
struct Tools {
    shared: Arc<Shared>,
    dialer: Dialer,
}

/// Waits until a policy asks for checks, then runs them until the proxy drains.
pub(crate) async fn watch(shared: Arc<Shared>) {
    let mut changes = shared.config.watch();
    loop {
        changes.borrow_and_update();
        if !wanted(&shared.config.snapshot()).is_empty() {
            break;
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
    let body = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default());
        match runtime {
            Ok(runtime) => runtime.block_on(run(shared)),
            Err(error) => tracing::error!(%error, "endpoints are not checked"),
        }
    };
    match thread::Builder::new().name("checker".into()).spawn(body) {
        Ok(thread) => {
            let ended = tokio::task::spawn_blocking(move || thread.join());
            if let Ok(Err(_)) = ended.await {
                tracing::error!("the checker panicked");
            }
        }
        Err(error) => tracing::error!(%error, "endpoints are not checked"),
    }
}

/// Runs the checks of each configuration until the proxy drains.
async fn run(shared: Arc<Shared>) {
    let mut changes = shared.config.watch();
    let mut drain = shared.drain.clone();
    let tools = Rc::new(Tools {
        dialer: Dialer::default(),
        shared,
    });
    let mut tasks = JoinSet::new();
    let mut running: HashMap<Key, Running> = HashMap::new();
    loop {
        changes.borrow_and_update();
        let wanted = wanted(&tools.shared.config.snapshot());
        running.retain(|key, one| {
            let same = wanted.get(key).is_some_and(|new| one.is(new));
            if !same {
                one.task.abort();
            }
            same
        });
        for (key, new) in wanted {
            running.entry(key).or_insert_with(|| Running {
                endpoint: new.endpoint.clone(),
                check: new.check.clone(),
                policy: new.policy(),
                task: tasks.spawn_local(keep_checking(Rc::clone(&tools), new)),
            });
        }
        while tasks.try_join_next().is_some() {}
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = drain.draining() => return,
        }
    }
}

/// The endpoints that policies want checked, at most [`MAX_CHECKED`], the first by name.
fn wanted(snapshot: &Snapshot) -> HashMap<Key, Wanted> {
    let present = snapshot
        .destinations
        .values()
        .filter_map(|known| match known {
            Known::Present(table) => Some(table),
            Known::Absent | Known::Failed(_) => None,
        });
    let mut all: Vec<(Key, Wanted)> = Vec::new();
    for backend in present.flat_map(|table| &table.backends) {
        let Some(check) = &backend.settings.health_check else {
            continue;
        };
        all.extend(backend.endpoints.iter().map(|endpoint| {
            let wanted = Wanted {
                backend: Arc::clone(backend),
                endpoint: endpoint.clone(),
                check: check.value.clone(),
            };
            ((backend.name.clone(), endpoint.address), wanted)
        }));
    }
    if all.len() > MAX_CHECKED {
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all.dedup_by(|(one, _), (other, _)| one == other);
        if all.len() > MAX_CHECKED {
            tracing::warn!(
                left = all.len() - MAX_CHECKED,
                "too many endpoints to check all"
            );
        }
        all.truncate(MAX_CHECKED);
    }
    all.into_iter().collect()
}

/// Checks one endpoint until the task is ended; what was found is forgotten then.
async fn keep_checking(tools: Rc<Tools>, wanted: Wanted) {
    let Wanted {
        backend,
        endpoint,
        check,
    } = wanted;
    let Some(marker) = tools.shared.endpoints.marker(&backend, endpoint.address) else {
        return;
    };
    let label = backend.name.to_string();
    let mut random = fastrand::Rng::new();
    let mut state = Health::default();
    let mut due = Instant::now() + health::first(&check, &mut Dice(&mut random));
    loop {
        tokio::time::sleep_until(due.into()).await;
        let begun = Instant::now();
        let asked = ask::ask(&tools, &backend, &endpoint, &check);
        let answer = tokio::time::timeout(check.timeout, asked).await;
        let answer = answer.unwrap_or_else(|_| Err("no answer in time".to_owned()));
        let before = state.unhealthy;
        state = state.after(answer.is_ok(), &check);
        note(
            &tools,
            (label.as_str(), &endpoint),
            &answer,
            (before, &state),
        );
        marker.mark(state.unhealthy);
        // From start to start; what takes longer than that is followed at once.
        due = begun + health::next(&check, &mut Dice(&mut random));
    }
}

fn note(
    tools: &Tools,
    (backend, endpoint): (&str, &Endpoint),
    answer: &Result<(), String>,
    (was_unhealthy, state): (bool, &Health),
) {
    tools.shared.telemetry().health_checked(&HealthChecked {
        backend,
        endpoint: endpoint.address,
        failure: answer.as_ref().err().map(String::as_str),
        turned: (was_unhealthy != state.unhealthy).then_some(state.unhealthy),
    });
}
