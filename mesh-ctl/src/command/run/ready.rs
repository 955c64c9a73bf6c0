//! When the app may start: its sidecar takes what the app sends, and has what it needs to carry it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use super::Settled;
use crate::render::note;
use crate::source::http::{Connection, get};

/// The longest an app waits for its sidecar.
const LIMIT: Duration = Duration::from_secs(30);
/// A wait this long is worth a word.
const LONG: Duration = Duration::from_secs(3);
/// Between two questions, at first.
const LOOK: Duration = Duration::from_millis(10);
/// The longest an answer may take.
const ANSWER: Duration = Duration::from_secs(1);
/// Never waited for: how the workload is called is complete only with the app itself.
const OF_THE_APP: &str = "inbound";

/// Waits until the sidecar behind `admin_socket` can carry the app's calls.
///
/// # Errors
/// It cannot within 30 s; the error says what it waits for.
pub(super) async fn wait(settled: &Settled, admin_socket: &Path) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut is_told = false;
    loop {
        let missing = match timeout(ANSWER, missing(admin_socket)).await {
            Ok(Ok(missing)) if missing.is_empty() => return Ok(()),
            Ok(Ok(missing)) => format!("waits for {}", missing.join(", ")),
            // It is starting, or starting again.
            Ok(Err(_)) => "does not answer yet".to_owned(),
            Err(_) => format!("does not answer within {ANSWER:?}"),
        };
        if started.elapsed() >= LIMIT {
            bail!(
                "the app of {} was not started: its sidecar is not ready after {LIMIT:?}, it \
                 {missing}; see {}",
                settled.name,
                settled.folder.join("proxy.log").display()
            );
        }
        if !is_told && started.elapsed() >= LONG {
            is_told = true;
            note(&format!(
                "{}: the app starts once its sidecar is ready, which {missing}",
                settled.name
            ));
        }
        sleep(if is_told { LOOK * 10 } else { LOOK }).await;
    }
}

async fn missing(admin_socket: &Path) -> anyhow::Result<Vec<String>> {
    let mut connection = Connection::open_unix(admin_socket).await?;
    let answer = connection.exchange(get("/ready", "localhost")?).await?;
    of_answer(&answer.json()?)
}

/// What a sidecar's `/ready` waits for, as far as it concerns the app's calls.
fn of_answer(ready: &Value) -> anyhow::Result<Vec<String>> {
    let waiting = ready["waitingFor"]
        .as_array()
        .context("the sidecar does not say what it waits for")?;
    let waiting = waiting.iter().filter_map(Value::as_str);
    Ok(waiting
        .filter(|&what| what != OF_THE_APP)
        .map(str::to_owned)
        .collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_app_waits_for_all_but_how_it_is_called() {
        let ready = json!({ "waitingFor": ["listeners", "certificate", "inbound"] });
        assert_eq!(of_answer(&ready).unwrap(), ["listeners", "certificate"]);
        let ready = json!({ "waitingFor": ["inbound"] });
        assert!(of_answer(&ready).unwrap().is_empty());
        assert!(of_answer(&json!({ "error": "no such path" })).is_err());
    }
}
