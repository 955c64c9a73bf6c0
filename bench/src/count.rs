//! Pieces of the data path, each done as often as asked, for a tool outside that counts what one takes.
//!
//! May use `endless` and `routes`.

mod feature;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::BytesMut;
use fastrand::Rng;
use mesh_api::decide::balance::{self, Choice, Members, Standing, Weights};
use mesh_api::model::policy::Algorithm;
use mesh_api::model::route::{HeaderChanges, UNCHANGED};
use mesh_api::name::{DestinationName, ObjectName};
use mesh_proxy::filter::{self, RequestChanges};
use mesh_proxy::h1::{Connection, Framing, RequestHead};
use mesh_proxy::telemetry::access_log::Sink;
use mesh_proxy::telemetry::{Direction, ExchangeEvent, SeriesKey, Telemetry};
use mesh_proxy::upstream::{Dice, Limit};

use self::feature::Feature;
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
    /// Decides where a cookie keeps the user's version.
    DecideSticky,
    /// Decides where a cookie leads to the endpoint.
    DecideHashed,
    /// Decides where one of 100,000 requests waits.
    DecideFaulty,
    /// Decides where one of a hundred requests is copied.
    DecideMirrored,
    /// Decides where the rule asks for a cookie.
    DecideNarrowed,
    /// Decides where pages of another origin may call.
    DecideCors,
    /// Decides where the path is rewritten.
    DecideRewritten,
    /// Says whether a try that failed is followed by another.
    Retry,
    /// Reads a deadline, and tells the next hop.
    Deadline,
    /// Takes a place within a limit, and gives it back.
    Limit,
    /// Asks a receiver's rate limit, which has room.
    RateLimit,
    /// Writes the head that goes on, with a field set, one added and one removed.
    SpliceChanged,
    /// Picks one of ten endpoints.
    Pick,
    /// Picks one of ten thousand.
    PickAmong10000,
    /// Counts an exchange that ended.
    Record,
}

/// Does `piece` so many times.
pub(crate) fn run(piece: Piece, times: u64) -> anyhow::Result<()> {
    let with = |feature| feature::with(feature, &one_head()?, times);
    match piece {
        Piece::Head => {
            let mut connection = Connection::new(Endless::new(HEAD));
            for _ in 0..times {
                black_box(head(&mut connection)?);
            }
            Ok(())
        }
        Piece::Splice => splice(times, &UNCHANGED),
        Piece::SpliceChanged => splice(times, &changes()?),
        Piece::Decide => feature::among(1, &one_head()?, times),
        Piece::DecideAmong1000 => feature::among(1000, &one_head()?, times),
        Piece::DecideSticky => with(Feature::Sticky),
        Piece::DecideHashed => with(Feature::Hashed),
        Piece::DecideFaulty => with(Feature::Faulty),
        Piece::DecideMirrored => with(Feature::Mirrored),
        Piece::DecideNarrowed => with(Feature::Narrowed),
        Piece::DecideCors => with(Feature::Cors),
        Piece::DecideRewritten => with(Feature::Rewritten),
        Piece::Retry => feature::retry(times),
        Piece::Deadline => feature::deadline(times),
        Piece::Limit => limit(times),
        Piece::RateLimit => feature::rate_limit(&one_head()?, times),
        Piece::Pick => pick(times, 10),
        Piece::PickAmong10000 => pick(times, 10_000),
        Piece::Record => record(times),
    }
}

fn one_head() -> anyhow::Result<RequestHead> {
    head(&mut Connection::new(Endless::new(HEAD)))
}

/// As many exchanges of one worker, one after the other.
fn limit(times: u64) -> anyhow::Result<()> {
    let limit = Arc::new(Limit::new(2));
    for _ in 0..times {
        let place = black_box(&limit).enter(10_000);
        ensure!(black_box(place).is_some(), "no place");
    }
    Ok(())
}

fn changes() -> anyhow::Result<HeaderChanges> {
    Ok(HeaderChanges {
        set: vec![("user-agent".parse()?, "app".parse()?)],
        add: vec![("x-region".parse()?, "eu-1".parse()?)],
        remove: vec!["referer".parse()?],
    })
}

fn head(connection: &mut Connection<Endless>) -> anyhow::Result<RequestHead> {
    match now(connection.read_request()) {
        Ok(head) => head.context("no head"),
        Err(fault) => bail!("{fault:?}"),
    }
}

fn splice(times: u64, rule: &HeaderChanges) -> anyhow::Result<()> {
    let head = one_head()?;
    let changes = RequestChanges {
        target: head.path_and_query(),
        host: head.authority(),
        changes: [rule, &UNCHANGED],
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
            warms: false,
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
