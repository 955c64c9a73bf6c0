//! Weights, what keeps users, and how endpoints are picked: shares of real requests, counted by the apps.

mod locality;
mod slow_start;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use e2e::backend::{Backend, Seen};
use e2e::binomial::bounds;
use e2e::figure::record;
use e2e::load::{Plan, Sender, Version, open, paced, run};
use e2e::mesh::{Mesh, Workload, free_address, service};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// Longest time for one case.
const PATIENCE: Duration = Duration::from_mins(3);
/// Requests of each split.
const SPLIT: u32 = 20_000;
/// Users whose way is followed.
const USERS: u32 = 10_000;
/// Requests a second while weights are flipped, unless `MESH_FLIP_RATE` says otherwise.
const FLIP_RATE: u32 = 2000;
/// Flips of weights.
const FLIPS: u32 = 50;

#[tokio::test]
#[ignore = "needs meshctl as released: cargo xtask e2e"]
async fn splits_are_those_of_the_weights() -> anyhow::Result<()> {
    timeout(PATIENCE, splits()).await?
}

#[tokio::test]
#[ignore = "needs meshctl as released: cargo xtask e2e"]
async fn users_stay_on_their_version() -> anyhow::Result<()> {
    timeout(PATIENCE, sticky()).await?
}

#[tokio::test]
#[ignore = "needs meshctl as released: cargo xtask e2e"]
async fn a_slow_endpoint_gets_little_and_turns_are_even() -> anyhow::Result<()> {
    timeout(PATIENCE, algorithms()).await?
}

#[tokio::test]
#[ignore = "needs meshctl as released: cargo xtask e2e"]
async fn keys_lead_every_proxy_to_the_same_endpoint() -> anyhow::Result<()> {
    timeout(PATIENCE, keys()).await?
}

#[tokio::test]
#[ignore = "needs meshctl as released: cargo xtask e2e"]
async fn a_new_endpoint_gets_its_share_by_and_by() -> anyhow::Result<()> {
    timeout(PATIENCE, slow_start::run()).await?
}

#[tokio::test]
#[ignore = "needs meshctl as released: cargo xtask e2e"]
async fn the_nearest_serve_while_they_are_well() -> anyhow::Result<()> {
    timeout(PATIENCE, locality::run()).await?
}

async fn splits() -> anyhow::Result<()> {
    let case = Case::start(3, &canary(&[90, 10], "")).await?;
    for weights in [&[90, 10][..], &[99, 1], &[1, 1, 1]] {
        case.write(&canary(weights, ""))?;
        case.in_force("caller", "shop", percents(weights)).await?;
        let before = case.requests();
        let plan = Plan {
            address: case.address,
            version: Version::Http1,
            count: SPLIT.into(),
            connections: 8,
            streams: 1,
        };
        let sum = run(&plan).await?;
        ensure!(sum.lost_gets() + sum.lost_posts() == 0, "failed: {sum:?}");
        let counts = since(&before, &case.requests());
        let total: u32 = weights.iter().sum();
        for (at, weight) in weights.iter().enumerate() {
            let wanted = bounds(SPLIT, f64::from(*weight) / f64::from(total));
            ensure!(
                wanted.contains(&counts[at]),
                "{weights:?}: {counts:?}, not {wanted:?} at {at}"
            );
        }
        record(
            "split",
            format!("{weights:?}: {counts:?} of {SPLIT} requests, within exact bounds at 10^-6"),
        );
    }
    flips(&case).await
}

/// Weights change under load, and nothing fails.
async fn flips(case: &Case) -> anyhow::Result<()> {
    let rate = std::env::var("MESH_FLIP_RATE").ok();
    let rate: u32 = rate.map_or(Ok(FLIP_RATE), |rate| rate.parse())?;
    let every = Duration::from_millis(100);
    let count = rate * FLIPS / 10;
    let address = case.address;
    let load = paced(address, Version::Http1, rate, count);
    let flip = async {
        for flip in 0..FLIPS {
            sleep(every).await;
            let weights: &[u32] = if flip % 2 == 0 { &[10, 90] } else { &[90, 10] };
            case.write(&canary(weights, ""))?;
        }
        anyhow::Ok(())
    };
    let (sent, flipped) = tokio::join!(load, flip);
    let (sent, ()) = (sent?, flipped?);
    record(
        "flips",
        format!(
            "{FLIPS} flips of weights at {rate} requests a second: {} of {count} failed",
            sent.failed
        ),
    );
    ensure!(sent.failed == 0, "{} of {count} failed", sent.failed);
    Ok(())
}

async fn sticky() -> anyhow::Result<()> {
    const POLICY: &str = "stickiness: { by: { header: x-user } }";
    let mut case = Case::start(2, &canary(&[90, 10], POLICY)).await?;
    case.in_force("caller", "shop", percents(&[90, 10])).await?;
    let first = ways(case.address, 0..USERS).await?;
    let second = ways(case.address, 0..USERS).await?;
    let moved = moves(&first, &second);
    ensure!(moved.is_empty(), "{} moved without a change", moved.len());
    let other = case.call("other").await?;
    let elsewhere = ways(other, 0..USERS / 10).await?;
    let differ = moves(&first, &elsewhere);
    ensure!(differ.is_empty(), "another proxy: {} differ", differ.len());
    case.write(&canary(&[80, 20], POLICY))?;
    case.in_force("caller", "shop", percents(&[80, 20])).await?;
    let third = ways(case.address, 0..USERS).await?;
    let moved = moves(&first, &third);
    let wanted = bounds(USERS, 0.1);
    record(
        "sticky canary",
        format!(
            "0 of {USERS} users move while weights stay, 0 of {} differ at another proxy; from 90/10 to \
             80/20 {} move, wanted {wanted:?}",
            USERS / 10,
            moved.len()
        ),
    );
    let back = moved.iter().filter(|(from, to)| from > to).count();
    ensure!(back == 0, "{back} moved the other way");
    ensure!(
        wanted.contains(&(moved.len() as u64)),
        "{} moved",
        moved.len()
    );
    cookies(&case).await
}

/// A client that keeps the cookie it was given stays.
async fn cookies(case: &Case) -> anyhow::Result<()> {
    let policy = "stickiness: { by: { cookie: { name: canary, ttl: 1h } }, scope: Endpoint }";
    case.write(&canary(&[50, 50], policy))?;
    case.in_force("caller", "shop", percents(&[50, 50])).await?;
    let mut connection = open(case.address, Version::Http1).await?;
    for _ in 0..20 {
        let (name, cookie) = ask(&mut connection.sender, &[]).await?;
        let cookie = cookie.context("no cookie was given")?;
        let (pair, terms) = cookie.split_once("; ").context("a bare cookie")?;
        ensure!(
            terms == "Path=/; Max-Age=3600; HttpOnly; SameSite=Lax",
            "{terms}"
        );
        for _ in 0..10 {
            let (again, given) = ask(&mut connection.sender, &[("cookie", pair)]).await?;
            ensure!(again == name, "{pair} led to {again} after {name}");
            ensure!(given.is_none(), "given again: {given:?}");
        }
    }
    Ok(())
}

async fn algorithms() -> anyhow::Result<()> {
    let mut manifests = service("shop", 80, "kubernetes.io/h2c");
    manifests += &policy("shop", "loadBalancing: { algorithm: PeakEwma }");
    // Times that a busy machine does not make alike.
    let (fast, slow) = (Duration::from_millis(20), Duration::from_millis(200));
    let slow = app("slow", slow).await?;
    let case = Case::of_one(&manifests, 3, fast, slow).await?;
    let plan = |count| Plan {
        address: case.address,
        version: Version::Http2,
        count,
        connections: 1,
        streams: 8,
    };
    // What is slow shows in its first answers.
    let warm = Instant::now();
    while warm.elapsed() < Duration::from_secs(2) {
        run(&plan(200)).await?;
    }
    let before = case.requests();
    let sum = run(&plan(2000)).await?;
    ensure!(sum.lost_gets() + sum.lost_posts() == 0, "failed: {sum:?}");
    let counts = since(&before, &case.requests());
    let of_slow = *counts.last().context("no apps")?;
    record(
        "slow endpoint",
        format!("ten times slower than the three others, peak EWMA: {of_slow} of 2000 requests"),
    );
    ensure!(of_slow * 100 <= 2000 * 5, "{counts:?}");
    let turns = manifests.replace("PeakEwma", "RoundRobin");
    case.write(&turns)?;
    case.in_force("caller", "shop", |answer| {
        let of = &answer["outcomes"][0]["algorithm"]["value"];
        *of == "RoundRobin"
    })
    .await?;
    let before = case.requests();
    let sum = run(&plan(1000)).await?;
    ensure!(sum.lost_gets() + sum.lost_posts() == 0, "failed: {sum:?}");
    let counts = since(&before, &case.requests());
    record(
        "round robin",
        format!("one HTTP/2 connection, 8 streams at once, 4 endpoints: {counts:?} of 1000"),
    );
    ensure!(
        counts.iter().all(|count| (248..=252).contains(count)),
        "{counts:?}"
    );
    Ok(())
}

async fn keys() -> anyhow::Result<()> {
    for algorithm in ["RingHash", "Maglev"] {
        let section =
            format!("loadBalancing: {{ algorithm: {algorithm}, hashOn: [{{ header: x-user }}] }}");
        let manifests = service("shop", 80, "http") + &policy("shop", &section);
        let extra = app("app4", Duration::ZERO).await?;
        let mut case = Case::of_one(&manifests, 4, Duration::ZERO, extra).await?;
        let users = 0..USERS / 5;
        let first = ways(case.address, users.clone()).await?;
        let other = case.call("other").await?;
        let second = ways(other, users.clone()).await?;
        let differ = moves(&first, &second);
        ensure!(differ.is_empty(), "{algorithm}: {} differ", differ.len());
        case.leave("app2");
        case.write(&manifests)?;
        case.has_endpoints(4).await?;
        let third = ways(case.address, users.clone()).await?;
        let moved = moves(&first, &third);
        let most = u64::from(users.end) * 12 / 50;
        ensure!(moved.len() as u64 <= most, "{algorithm}: {}", moved.len());
        let late = case.call("late").await?;
        let fourth = ways(late, users.clone()).await?;
        let late = moves(&third, &fourth);
        ensure!(late.is_empty(), "{algorithm}: {} differ", late.len());
        record(
            "keys",
            format!(
                "{algorithm}: 0 of {} differ at another proxy and at one started later; one of 5 endpoints \
                 leaves: {} move, at most {most}",
                users.end,
                moved.len()
            ),
        );
    }
    Ok(())
}

/// A mesh of one caller's sidecar and apps outside the mesh.
struct Case {
    mesh: Mesh,
    apps: BTreeMap<String, Backend>,
    /// Manifests of the apps.
    workloads: BTreeMap<String, String>,
    callers: Vec<String>,
    address: SocketAddr,
}

impl Case {
    /// Versions `v0`, `v1` ... of a shop, each a Service with one app.
    async fn start(versions: usize, manifests: &str) -> anyhow::Result<Self> {
        let mut apps = BTreeMap::new();
        let mut workloads = BTreeMap::new();
        for version in 0..versions {
            let name = format!("v{version}");
            let app = app(&name, Duration::ZERO).await?;
            let text = service(&name, 80, "http") + &outside(&name, &name, app.port);
            workloads.insert(name.clone(), text);
            apps.insert(name, app);
        }
        Self::run(manifests, apps, workloads).await
    }

    /// One Service with `count` apps that take `delay`, and `last`.
    async fn of_one(
        manifests: &str,
        count: usize,
        delay: Duration,
        last: Backend,
    ) -> anyhow::Result<Self> {
        let mut apps = BTreeMap::new();
        for at in 0..count {
            let name = format!("app{at}");
            let one = app(&name, delay).await?;
            apps.insert(name, one);
        }
        apps.insert(format!("app{count}"), last);
        let each = apps.iter();
        let workloads = each.map(|(name, app)| (name.clone(), outside(name, "shop", app.port)));
        let workloads = workloads.collect();
        Self::run(manifests, apps, workloads).await
    }

    async fn run(
        manifests: &str,
        apps: BTreeMap<String, Backend>,
        workloads: BTreeMap<String, String>,
    ) -> anyhow::Result<Self> {
        let all: String = workloads.values().map(String::as_str).collect();
        let mut mesh = Mesh::start(&(manifests.to_owned() + &all)).await?;
        let address = free_address()?;
        mesh.run(&Workload::new("caller").upstream("shop", 80, address))?;
        mesh.wait_synced().await?;
        Ok(Self {
            mesh,
            apps,
            workloads,
            callers: vec!["caller".to_owned()],
            address,
        })
    }

    /// Another caller, by its name; where it listens for calls.
    async fn call(&mut self, name: &str) -> anyhow::Result<SocketAddr> {
        let address = free_address()?;
        self.mesh
            .run(&Workload::new(name).upstream("shop", 80, address))?;
        self.mesh.wait_synced().await?;
        self.callers.push(name.to_owned());
        Ok(address)
    }

    fn leave(&mut self, app: &str) {
        self.workloads.remove(app);
    }

    fn join(&mut self, app: &str, port: u16) {
        let text = outside(app, "shop", port);
        self.workloads.insert(app.to_owned(), text);
    }

    /// Puts `manifests` and the apps' in the place of what there was.
    fn write(&self, manifests: &str) -> anyhow::Result<()> {
        let all: String = self.workloads.values().map(String::as_str).collect();
        let new = self.mesh.folder().join("new.yaml");
        std::fs::write(&new, manifests.to_owned() + &all)?;
        let to = self.mesh.folder().join("manifests").join("case.yaml");
        Ok(std::fs::rename(new, to)?)
    }

    /// Waits until a caller's proxy explains a request as `is_so` wants it.
    async fn in_force(
        &self,
        caller: &str,
        service: &str,
        is_so: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<()> {
        let from = format!("e2e/{caller}");
        let url = format!("http://{service}:80/");
        let begun = Instant::now();
        loop {
            let arguments = ["explain", "--live", "--from", &from, &url];
            let said = self.mesh.ask(&arguments).await;
            match said {
                Ok(answer) if is_so(&answer) => return Ok(()),
                said if begun.elapsed() > Duration::from_secs(20) => {
                    bail!("not in force at {caller}: {said:?}")
                }
                _ => sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Waits until every caller's proxy knows `count` endpoints of the shop.
    async fn has_endpoints(&self, count: usize) -> anyhow::Result<()> {
        for caller in &self.callers {
            self.in_force(caller, "shop", |answer| {
                let endpoints = answer["outcomes"][0]["endpoints"].as_array();
                endpoints.is_some_and(|endpoints| endpoints.len() == count)
            })
            .await?;
        }
        Ok(())
    }

    /// What reached each app so far, by their names.
    fn requests(&self) -> Vec<u64> {
        self.apps.values().map(|app| app.seen.requests()).collect()
    }
}

fn since(before: &[u64], now: &[u64]) -> Vec<u64> {
    before.iter().zip(now).map(|(old, new)| new - old).collect()
}

/// True of an explanation whose outcomes have the shares of `weights`.
fn percents(weights: &[u32]) -> impl Fn(&Value) -> bool {
    let total: u32 = weights.iter().sum();
    let wanted: Vec<f64> = weights
        .iter()
        .map(|weight| f64::from(weight * 10_000 / total) / 100.0)
        .collect();
    move |answer| {
        let outcomes = answer["outcomes"].as_array().into_iter().flatten();
        let found: Option<Vec<f64>> = outcomes.map(|one| one["percent"].as_f64()).collect();
        found.as_ref() == Some(&wanted)
    }
}

/// A shop that sends to its versions by `weights`, with a policy.
fn canary(weights: &[u32], section: &str) -> String {
    let mut text = service("shop", 80, "http");
    text += "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n\
             metadata: { name: shop, namespace: e2e }\nspec:\n  \
             parentRefs: [{ group: \"\", kind: Service, name: shop, port: 80 }]\n  \
             rules:\n  - backendRefs:\n";
    for (version, weight) in weights.iter().enumerate() {
        writeln!(
            text,
            "    - {{ name: v{version}, port: 80, weight: {weight} }}"
        )
        .unwrap_or_default();
    }
    if section.is_empty() {
        return text;
    }
    text + &policy("shop", section)
}

fn policy(service: &str, section: &str) -> String {
    format!(
        "---\napiVersion: mesh.dev/v1alpha1\nkind: TrafficPolicy\n\
         metadata: {{ name: {service}, namespace: e2e }}\n\
         spec: {{ targetRefs: [{{ kind: Service, name: {service} }}], {section} }}\n"
    )
}

/// An app outside the mesh, on `port` of this machine.
fn outside(name: &str, app: &str, port: u16) -> String {
    format!(
        "---\napiVersion: mesh.dev/v1alpha1\nkind: Workload\n\
         metadata: {{ name: {name}, namespace: e2e, labels: {{ app: {app} }} }}\n\
         spec: {{ address: 127.0.0.1, ports: {{ main: {port} }}, protocol: None }}\n"
    )
}

/// Starts an app of this name that takes `delay` to answer.
async fn app(name: &str, delay: Duration) -> anyhow::Result<Backend> {
    let name = name.to_owned();
    Backend::start(move |stream, seen| serve(stream, seen, name.clone(), delay)).await
}

/// An app that answers with its name, after a while.
async fn serve(stream: TcpStream, seen: Seen, name: String, delay: Duration) -> anyhow::Result<()> {
    let service = service_fn(move |request: Request<Incoming>| {
        let (name, seen) = (name.clone(), seen.clone());
        async move {
            let body = request.into_body().collect().await;
            if !delay.is_zero() {
                sleep(delay).await;
            }
            seen.answered(None);
            body.map(|_| Response::new(Full::<Bytes>::from(name)))
        }
    });
    auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await
        .map_err(anyhow::Error::from_boxed)
}

/// One request with these fields: who answered, and the cookie that was given.
async fn ask(
    sender: &mut Sender,
    fields: &[(&str, &str)],
) -> anyhow::Result<(String, Option<String>)> {
    let mut request = Request::builder().uri("/").header("host", "shop");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let response = sender.send(request.body(Full::default())?).await?;
    ensure!(response.status() == 200, "{response:?}");
    let cookie = response.headers().get("set-cookie");
    let cookie = cookie.map(|value| value.to_str().map(str::to_owned));
    let body = response.into_body().collect().await?.to_bytes();
    Ok((String::from_utf8(body.to_vec())?, cookie.transpose()?))
}

/// Who answers each user.
async fn ways(
    address: SocketAddr,
    users: std::ops::Range<u32>,
) -> anyhow::Result<BTreeMap<u32, String>> {
    const CONNECTIONS: u32 = 8;
    let mut asking = JoinSet::new();
    for part in 0..CONNECTIONS {
        let users = users.clone().filter(move |user| user % CONNECTIONS == part);
        asking.spawn(async move {
            let mut connection = open(address, Version::Http1).await?;
            let mut found = BTreeMap::new();
            for user in users {
                let name = format!("user-{user}");
                let (way, _) = ask(&mut connection.sender, &[("x-user", &name)]).await?;
                found.insert(user, way);
            }
            anyhow::Ok(found)
        });
    }
    let mut all = BTreeMap::new();
    while let Some(found) = asking.join_next().await {
        all.extend(found??);
    }
    Ok(all)
}

/// From where to where users went that both know.
fn moves(before: &BTreeMap<u32, String>, now: &BTreeMap<u32, String>) -> Vec<(String, String)> {
    let both = now
        .iter()
        .filter_map(|(user, way)| Some((before.get(user)?, way)));
    both.filter(|(from, to)| from != to)
        .map(|(from, to)| (from.clone(), to.clone()))
        .collect()
}
