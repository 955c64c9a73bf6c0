//! Pieces of the data path, each done as often as asked, for a tool outside that counts what one takes.
//!
//! The only module that knows the mesh. May use `endless`.

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::BytesMut;
use fastrand::Rng;
use mesh_api::decide::balance::{self, Choice, Members, Standing, Weights};
use mesh_api::decide::{self, Caller, Decision, Request, Step};
use mesh_api::explain::Silent;
use mesh_api::manifest;
use mesh_api::model::policy::Algorithm;
use mesh_api::model::route::HeaderChanges;
use mesh_api::name::{DestinationName, Namespace, ObjectName};
use mesh_api::snapshot::DestinationTable;
use mesh_api::translate::Catalog;
use mesh_proxy::filter::{self, RequestChanges};
use mesh_proxy::h1::{Connection, Framing, RequestHead};
use mesh_proxy::telemetry::access_log::Sink;
use mesh_proxy::telemetry::{Direction, ExchangeEvent, SeriesKey, Telemetry};
use mesh_proxy::upstream::Dice;

use crate::endless::{Endless, now};

/// What a browser sends: a dozen fields, none of which a rule looks at.
const HEAD: &[u8] = b"GET /products/17?page=2 HTTP/1.1\r\n\
    host: app\r\n\
    user-agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    accept-language: en-GB,en;q=0.5\r\n\
    accept-encoding: gzip, deflate, br\r\n\
    cookie: session=0123456789abcdef0123456789abcdef\r\n\
    x-request-id: 7f3b1c52-9f6a-4f3e-8d55-0c6f1f0a7b11\r\n\
    traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\
    cache-control: no-cache\r\n\
    pragma: no-cache\r\n\
    referer: http://app/products\r\n\r\n";

/// A piece of the data path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Piece {
    /// Reads and checks a head of HTTP/1.1.
    Head,
    /// Writes the head that goes on.
    Splice,
    /// Decides on a request where there is one rule.
    Decide,
    /// The same where there are a thousand, of which the last matches.
    DecideAmong1000,
    /// Picks one of ten endpoints.
    Pick,
    /// Picks one of ten thousand.
    PickAmong10000,
    /// Counts an exchange that ended.
    Record,
}

/// Does `piece` so many times.
pub(crate) fn run(piece: Piece, times: u64) -> anyhow::Result<()> {
    match piece {
        Piece::Head => {
            let mut connection = Connection::new(Endless::new(HEAD));
            for _ in 0..times {
                black_box(head(&mut connection)?);
            }
            Ok(())
        }
        Piece::Splice => splice(times),
        Piece::Decide => decide(times, 1),
        Piece::DecideAmong1000 => decide(times, 1000),
        Piece::Pick => pick(times, 10),
        Piece::PickAmong10000 => pick(times, 10_000),
        Piece::Record => record(times),
    }
}

fn head(connection: &mut Connection<Endless>) -> anyhow::Result<RequestHead> {
    match now(connection.read_request()) {
        Ok(head) => head.context("no head"),
        Err(fault) => bail!("{fault:?}"),
    }
}

fn splice(times: u64) -> anyhow::Result<()> {
    let head = head(&mut Connection::new(Endless::new(HEAD)))?;
    let none = HeaderChanges {
        set: Vec::new(),
        add: Vec::new(),
        remove: Vec::new(),
    };
    let changes = RequestChanges {
        target: head.path_and_query(),
        host: head.authority(),
        changes: [&none, &none],
        framing: Framing::Empty,
        append: &[],
        strip: &["mesh-error"],
    };
    let mut out = BytesMut::new();
    for _ in 0..times {
        out.clear();
        filter::write_request(&head, black_box(&changes), &mut out);
        ensure!(!out.is_empty(), "nothing written");
    }
    Ok(())
}

fn decide(times: u64, rules: u32) -> anyhow::Result<()> {
    let table = table(rules)?;
    let head = head(&mut Connection::new(Endless::new(HEAD)))?;
    let mut random = Rng::with_seed(1);
    let mut random = Dice(&mut random);
    for _ in 0..times {
        let request = Request {
            method: head.method(),
            scheme: "http",
            authority: head.authority(),
            port: 80,
            path: "/products/17",
            query: Some("page=2"),
            headers: &head,
            caller: Caller {
                namespace: &table.consumer,
                labels: None,
                service_account: None,
                address: None,
            },
        };
        let step = decide::request(&table, black_box(&request), &mut random, &mut Silent);
        let Step::Done(Decision::Forward(_)) = black_box(step) else {
            bail!("not forwarded");
        };
    }
    Ok(())
}

/// A Service whose last rule takes everything; others, paths that nobody asks for.
fn table(rules: u32) -> anyhow::Result<DestinationTable> {
    let mut text = "apiVersion: v1\nkind: Service\nmetadata: { name: app, namespace: demo }\n\
        spec: { selector: { app: app }, ports: [{ port: 80, appProtocol: http }] }\n"
        .to_owned();
    for rule in 0..rules {
        let prefix = if rule == 0 {
            "/".to_owned()
        } else {
            format!("/other/{rule}")
        };
        writeln!(
            text,
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n\
             metadata: {{ name: route-{rule}, namespace: demo }}\nspec:\n  \
             parentRefs: [{{ group: \"\", kind: Service, name: app, port: 80 }}]\n  rules:\n  \
             - matches: [{{ path: {{ type: PathPrefix, value: {prefix} }} }}]\n    \
               backendRefs: [{{ name: app, port: 80 }}]"
        )?;
    }
    let mut catalog = Catalog::default();
    for located in manifest::read("count.yaml", &text).resources {
        let faults = catalog.apply(located.resource.clone()).faults;
        ensure!(faults.is_empty(), "{faults:?}");
    }
    let namespace: Namespace = "demo".parse()?;
    let name: DestinationName = "demo/app:80".parse()?;
    let destination = catalog.destination(&name, &namespace);
    let destination = destination.context("no such destination")?;
    match DestinationTable::compile(destination, None) {
        Ok(table) => Ok(table),
        Err(faults) => bail!("{faults:?}"),
    }
}

/// Endpoints of which nothing is held against any.
struct Healthy;

impl Members for Healthy {
    fn standing(&self, _index: usize) -> Standing {
        Standing::default()
    }

    fn load(&self, index: usize) -> f64 {
        f64::from(u32::try_from(index).unwrap_or(u32::MAX))
    }

    fn outstanding(&self, index: usize) -> u64 {
        index as u64
    }
}

fn pick(times: u64, endpoints: u32) -> anyhow::Result<()> {
    let weights = Weights::new((0..endpoints).map(|_| 100));
    let mut room = Vec::new();
    let mut random = Rng::with_seed(1);
    let mut random = Dice(&mut random);
    for turn in 0..times {
        let choice = Choice {
            algorithm: Algorithm::PeakEwma,
            weights: black_box(&weights),
            key: None,
        };
        let at = balance::choose(&choice, &Healthy, (turn, &mut room), &mut random);
        black_box(at.context("none picked")?);
    }
    Ok(())
}

fn record(times: u64) -> anyhow::Result<()> {
    let workload = ObjectName::new("demo".parse()?, "caller".parse()?);
    let shard = Telemetry::new(workload, &Sink::Off)?.shard();
    let name: DestinationName = "demo/app:80".parse()?;
    let key = SeriesKey {
        direction: Direction::Outbound,
        destination: Some(&name),
        backend: Some(&name),
    };
    let event = ExchangeEvent {
        direction: Direction::Outbound,
        destination: Some(&name),
        backend: Some(&name),
        endpoint: None,
        route: None,
        peer: None,
        method: "GET",
        host: "app",
        path: "/products/17",
        status: 200,
        reason: None,
        attempts: 1,
        bytes_in: 0,
        bytes_out: 128,
        duration: Duration::from_micros(300),
        traceparent: None,
        fault: None,
    };
    for _ in 0..times {
        let series = shard.series(black_box(key));
        shard.exchange(series, black_box(&event));
    }
    Ok(())
}
