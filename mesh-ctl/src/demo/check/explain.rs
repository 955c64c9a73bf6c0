//! `meshctl explain` from the manifests against what the running proxy did, for 200 requests.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::Figure;
use crate::command::explain::{Asked, caller, offline};
use crate::demo::mesh::{Mesh, object};
use crate::source::files::Files;
use crate::source::http::{Answer, Connection, request};

const REQUESTS: usize = 200;
/// The same requests at every run.
const SEED: u64 = 3;
/// Fields that the proxies write themselves.
const OWN: [&str; 5] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "te",
];

/// A request that was sent, with what came back and what was foretold.
struct Sent {
    asked: Asked,
    foretold: Value,
    answer: Answer,
}

/// Explains, sends and compares.
pub(super) async fn check(mesh: &Mesh) -> Figure {
    let files = Files::read(&[mesh.state.manifests()])?;
    let visitor = object("visitor")?;
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut connection = Connection::open(mesh.outbound("lab")?).await?;
    let mut sent = HashMap::new();
    for number in 0..REQUESTS {
        let (asked, trace) = generate(&mut random, number);
        let explained = offline(&files.catalog, caller(&files.catalog, &visitor), &asked)?;
        let answer = send(&mut connection, &asked).await?;
        let foretold = serde_json::to_value(explained)?;
        sent.insert(
            trace,
            Sent {
                asked,
                foretold,
                answer,
            },
        );
    }
    let lines = log_lines(mesh, &sent).await?;
    let mut outcomes: BTreeMap<String, u32> = BTreeMap::new();
    for (trace, one) in &sent {
        let line = lines.get(trace).context("an access log line is missing")?;
        let outcome = one.compare(line).with_context(|| {
            let Asked {
                method,
                target,
                headers,
                ..
            } = &one.asked;
            format!(
                "{method} {target} {headers:?}: foretold {}, but logged {line}",
                one.foretold["outcomes"]
            )
        })?;
        *outcomes.entry(outcome).or_default() += 1;
    }
    Ok(format!(
        "{} requests agree on rule, head, backends, outcome and mesh-error: {outcomes:?}",
        sent.len()
    ))
}

/// A request drawn from what the lab's rules look at, and its trace id.
fn generate(random: &mut fastrand::Rng, number: usize) -> (Asked, String) {
    const METHODS: [&str; 6] = ["GET", "GET", "GET", "POST", "PUT", "DELETE"];
    const PATHS: [&str; 18] = [
        "/echo",
        "/echo/a/b",
        "/echoes",
        "/old",
        "/old/x%20y",
        "/older",
        "/home",
        "/homes",
        "/moved/a?b=c",
        "/moved",
        "/items/7",
        "/items/7/x",
        "/items/x",
        "/slow?ms=1",
        "/nobody",
        "/",
        "/echo/./c/../d",
        "/unknown",
    ];
    const QUERIES: [&str; 5] = [
        "",
        "",
        "version=v2",
        "version=v1&version=v2",
        "a=1&version=v2",
    ];
    const USERS: [&str; 5] = ["", "beta", "beta-17", "beta-x", "other"];
    let pick = |random: &mut fastrand::Rng, from: &[&'static str]| {
        random.choice(from.iter()).copied().unwrap_or_default()
    };
    let mut target = pick(random, &PATHS).to_owned();
    let query = pick(random, &QUERIES);
    if !query.is_empty() {
        target.push(if target.contains('?') { '&' } else { '?' });
        target.push_str(query);
    }
    let trace = format!(
        "{:032x}",
        (u128::from(random.u64(..)) << 64) | number as u128
    );
    let mut headers = vec![(
        "traceparent".to_owned(),
        format!("00-{trace}-00000000000000aa-01"),
    )];
    let mut add = |name: &str, value: &str| headers.push((name.to_owned(), value.to_owned()));
    match pick(random, &USERS) {
        "" => {}
        user => add("x-user", user),
    }
    if random.bool() {
        add("x-secret", "s");
        add("x-trail", "own");
    }
    let asked = Asked {
        method: pick(random, &METHODS).to_owned(),
        authority: "lab".to_owned(),
        port: 80,
        target,
        headers,
    };
    (asked, trace)
}

async fn send(connection: &mut Connection, asked: &Asked) -> anyhow::Result<Answer> {
    let mut request = request(&asked.method, &asked.target, &asked.authority, "")?;
    for (name, value) in &asked.headers {
        let name: hyper::header::HeaderName = name.parse()?;
        request.headers_mut().append(name, value.parse()?);
    }
    connection.exchange(request).await
}

/// The visitor's access log lines of these requests, by trace id; written a moment later.
async fn log_lines(
    mesh: &Mesh,
    sent: &HashMap<String, Sent>,
) -> anyhow::Result<HashMap<String, Value>> {
    let path = mesh.folder("visitor")?.join("access.log");
    let limit = Instant::now() + Duration::from_secs(2);
    loop {
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let by_trace: HashMap<String, Value> = lines
            .filter_map(|line| Some((line["traceId"].as_str()?.to_owned(), line)))
            .filter(|(trace, _)| sent.contains_key(trace))
            .collect();
        if by_trace.len() == sent.len() {
            return Ok(by_trace);
        }
        ensure!(
            Instant::now() < limit,
            "{} of {} requests are in the access log",
            by_trace.len(),
            sent.len()
        );
        sleep(Duration::from_millis(20)).await;
    }
}

impl Sent {
    /// What happened, if it is one of the outcomes foretold.
    fn compare(&self, line: &Value) -> anyhow::Result<String> {
        let matched = &self.foretold["matched"];
        ensure!(line["route"] == matched["route"], "another route");
        ensure!(line["rule"] == matched["rule"], "another rule");
        ensure!(
            line["status"] == self.answer.status,
            "another status in the log than received"
        );
        let outcomes = self.foretold["outcomes"]
            .as_array()
            .context("no outcomes")?;
        let mut reasons = Vec::new();
        for outcome in outcomes {
            match self.fits(outcome, line) {
                Ok(kind) => return Ok(kind),
                Err(reason) => reasons.push(format!("{reason:#}")),
            }
        }
        bail!("none of the outcomes: {}", reasons.join("; "))
    }

    fn fits(&self, outcome: &Value, line: &Value) -> anyhow::Result<String> {
        let kind = outcome["outcome"].as_str().unwrap_or_default();
        match kind.to_ascii_lowercase().as_str() {
            "forward" => self.fits_forward(outcome, line)?,
            "redirect" => {
                ensure!(
                    outcome["status"] == self.answer.status,
                    "status {}",
                    self.answer.status
                );
                ensure!(
                    outcome["location"] == *self.answer.header("location"),
                    "another Location"
                );
            }
            "refuse" => {
                ensure!(
                    outcome["status"] == self.answer.status,
                    "status {}",
                    self.answer.status
                );
                ensure!(
                    outcome["meshError"] == *self.answer.header("mesh-error"),
                    "another mesh-error"
                );
                ensure!(
                    outcome["reason"] == line["reason"],
                    "another reason in the log"
                );
            }
            other => bail!("an outcome called {other:?}"),
        }
        Ok(kind.to_owned())
    }

    fn fits_forward(&self, outcome: &Value, line: &Value) -> anyhow::Result<()> {
        ensure!(outcome["backend"] == line["backend"], "another backend");
        let error = self.answer.header("mesh-error");
        ensure!(error.is_empty(), "mesh-error: {error}");
        for change in outcome["responseHeaders"].as_array().into_iter().flatten() {
            let name = change["name"].as_str().unwrap_or_default();
            let expected = change["value"].as_str().unwrap_or_default();
            ensure!(
                self.answer.header(name) == expected,
                "{name} of the response is not changed"
            );
        }
        let expected = &outcome["request"];
        let Some(echo) = self
            .answer
            .json()
            .ok()
            .filter(|echo| echo.get("target").is_some())
        else {
            return Ok(());
        };
        for part in ["method", "target"] {
            ensure!(
                echo[part] == expected[part],
                "the app got {part} {}",
                echo[part]
            );
        }
        let fields = |value: &Value| -> Vec<(String, String)> {
            let all = value.as_array().into_iter().flatten();
            let all = all.filter_map(|field| {
                Some((
                    field[0].as_str()?.to_ascii_lowercase(),
                    field[1].as_str()?.to_owned(),
                ))
            });
            all.collect()
        };
        let (got, wanted) = (fields(&echo["headers"]), fields(&expected["fields"]));
        let host = got
            .iter()
            .find(|(name, _)| name == "host")
            .map(|(_, host)| host.as_str());
        ensure!(
            host == expected["host"].as_str(),
            "the app got host {host:?}"
        );
        let got: Vec<_> = got
            .into_iter()
            .filter(|(name, _)| !OWN.contains(&name.as_str()))
            .collect();
        let wanted: Vec<_> = wanted
            .into_iter()
            .filter(|(name, _)| !OWN.contains(&name.as_str()))
            .collect();
        ensure!(got == wanted, "the app got {got:?}, not {wanted:?}");
        Ok(())
    }
}
