//! Decisions of requests and failures, with each feature that may be configured. May use `routes`.

use std::hash::Hasher;
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use fastrand::Rng;
use mesh_api::decide::deadline::{self, Said};
use mesh_api::decide::pushback::Pushback;
use mesh_api::decide::ratelimit::bucket::Room;
use mesh_api::decide::ratelimit::{self, Outcome, Received};
use mesh_api::decide::retry::{self, Failure, Question, Verdict};
use mesh_api::decide::{self, Caller, Decision, Request, Step};
use mesh_api::error::Faults;
use mesh_api::explain::Silent;
use mesh_api::model::ratelimit::Rate;
use mesh_api::name::Namespace;
use mesh_api::snapshot::{DestinationTable, RateLimitTable};
use mesh_api::translate::Catalog;
use mesh_proxy::h1::RequestHead;
use mesh_proxy::rate::{Buckets, Keys};
use mesh_proxy::upstream::Dice;

use crate::routes::{self, SERVICE};

/// Of two rules the first takes everything.
const ALL: &str = "type: PathPrefix, value: /";

/// What may be configured for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Feature {
    Sticky,
    Hashed,
    Faulty,
    Mirrored,
    Narrowed,
    Cors,
    Rewritten,
}

impl Feature {
    /// The filter of the route's rule.
    fn filter(self) -> &'static str {
        match self {
            Self::Mirrored => {
                "{ type: RequestMirror, requestMirror: { backendRef: { name: app, port: 80 }, percent: 1 } }"
            }
            Self::Narrowed => {
                "{ type: ExtensionRef, extensionRef: { group: mesh.dev, kind: RouteMatch, name: beta } }"
            }
            Self::Cors => "{ type: CORS, cors: { allowOrigins: [\"http://app\"] } }",
            Self::Rewritten => {
                "{ type: URLRewrite, urlRewrite: { path: { type: ReplacePrefixMatch, replacePrefixMatch: /v2 } } }"
            }
            Self::Sticky | Self::Hashed | Self::Faulty => "",
        }
    }

    /// The spec of the Service's TrafficPolicy.
    fn policy(self) -> &'static str {
        match self {
            Self::Sticky => "stickiness: { by: { cookie: { name: session } } }",
            Self::Hashed => {
                "loadBalancing: { algorithm: Maglev, hashOn: [{ cookie: { name: session } }] }"
            }
            Self::Faulty => "fault: [{ delay: { percent: 0.001, fixed: 1ms } }]",
            Self::Mirrored | Self::Narrowed | Self::Cors | Self::Rewritten => "",
        }
    }

    fn table(self) -> anyhow::Result<DestinationTable> {
        let route = routes::route("all", ALL, self.filter());
        let mesh = "---\napiVersion: mesh.dev/v1alpha1\nkind:";
        let policy = match self.policy() {
            "" => String::new(),
            policy => format!(
                "{mesh} TrafficPolicy\nmetadata: {{ name: p, namespace: demo }}\n\
                 spec: {{ targetRefs: [{{ kind: Service, name: app }}], {policy} }}\n"
            ),
        };
        routes::table(&format!(
            "{SERVICE}{mesh} Workload\nmetadata: {{ name: a, namespace: demo, labels: {{ app: app }} }}\n\
             spec: {{ address: 127.0.0.2, serviceAccount: app }}\n\
             {mesh} RouteMatch\nmetadata: {{ name: beta, namespace: demo }}\n\
             spec: {{ cookie: {{ name: session }} }}\n{route}{policy}"
        ))
    }
}

/// Decides on a request of which `feature` is configured.
pub(super) fn with(feature: Feature, head: &RequestHead, times: u64) -> anyhow::Result<()> {
    decide(&feature.table()?, head, times)
}

/// Decides on a request where the last of so many rules takes it, and nothing more is configured.
pub(super) fn among(rules: u32, head: &RequestHead, times: u64) -> anyhow::Result<()> {
    let mut text = SERVICE.to_owned();
    text.push_str(&routes::route("all", ALL, ""));
    for rule in 1..rules {
        let path = format!("type: PathPrefix, value: /other/{rule}");
        text.push_str(&routes::route(&format!("route-{rule}"), &path, ""));
    }
    decide(&routes::table(&text)?, head, times)
}

fn decide(table: &DestinationTable, head: &RequestHead, times: u64) -> anyhow::Result<()> {
    let mut random = Rng::with_seed(1);
    let mut random = Dice(&mut random);
    for _ in 0..times {
        let request = request(head, &table.consumer);
        let step = decide::request(table, black_box(&request), &mut random, &mut Silent);
        let Step::Done(Decision::Forward(_)) = black_box(step) else {
            bail!("not forwarded");
        };
    }
    Ok(())
}

/// Says whether a request that was answered 503 is tried again, after which wait.
pub(super) fn retry(times: u64) -> anyhow::Result<()> {
    let table = routes::table(&format!(
        "{SERVICE}---\napiVersion: mesh.dev/v1alpha1\nkind: TrafficPolicy\n\
         metadata: {{ name: p, namespace: demo }}\n\
         spec: {{ targetRefs: [{{ kind: Service, name: app }}], retry: {{ retryOn: {{ status: [\"502-504\"] }} }} }}\n"
    ))?;
    let mut random = Rng::with_seed(1);
    let mut random = Dice(&mut random);
    for _ in 0..times {
        let question = Question {
            policy: &table.retry.value,
            method: "GET",
            has_idempotency_key: false,
            tries: 2,
            failure: Failure::Status(503),
            endpoint_left: true,
            body_replayable: true,
            budget_left: true,
            waited: Duration::ZERO,
            pushback: Pushback::Silent,
            time_left: Some(Duration::from_secs(5)),
        };
        let verdict = retry::verdict(black_box(&question), &mut random);
        ensure!(matches!(black_box(verdict), Verdict::Again { .. }), "stops");
    }
    Ok(())
}

/// The buckets of one limit.
struct One {
    keys: Keys,
    buckets: Buckets,
}

impl ratelimit::Buckets for One {
    fn key(&self, write: &dyn Fn(&mut dyn Hasher)) -> u128 {
        self.keys.number(write)
    }

    fn take(&mut self, _: usize, key: Option<u128>, _: Rate) -> Result<Room, Duration> {
        self.buckets.take(key, Duration::ZERO)
    }

    fn give_back(&mut self, _: usize, key: Option<u128>, _: Rate) {
        self.buckets.give_back(key);
    }
}

/// Asks the limit of a receiver that has a bucket for each value of a field.
pub(super) fn rate_limit(head: &RequestHead, times: u64) -> anyhow::Result<()> {
    let mesh = "---\napiVersion: mesh.dev/v1alpha1\nkind:";
    let mut catalog = Catalog::default();
    routes::apply(
        &mut catalog,
        &format!(
            "{SERVICE}{mesh} Workload\nmetadata: {{ name: a, namespace: demo, labels: {{ app: app }} }}\n\
             spec: {{ address: 127.0.0.2, serviceAccount: app }}\n\
             {mesh} RateLimitPolicy\nmetadata: {{ name: p, namespace: demo }}\n\
             spec: {{ targetRefs: [{{ kind: Service, name: app }}], \
             limits: [{{ name: few, requests: 1000000, per: 1s, by: [{{ header: user-agent }}] }}] }}\n"
        ),
    )?;
    let inbound = catalog.inbound(&"demo/a".parse()?).context("no entry")?;
    let table = RateLimitTable::compile(&inbound, &mut Faults::default());
    let table = table.context("no limits")?;
    let limit = table.limits.first().context("no limit")?;
    let mut one = One {
        keys: Keys::default(),
        buckets: Buckets::new(limit.limit.rate),
    };
    let (namespace, port) = ("demo".parse()?, "80".parse()?);
    for _ in 0..times {
        let received = Received {
            request: request(head, &namespace),
            port,
            peer: None,
            address: Ipv4Addr::LOCALHOST.into(),
        };
        let outcome = ratelimit::decide(&table, black_box(&received), &mut one);
        ensure!(matches!(black_box(outcome), Outcome::Pass(_)), "refused");
    }
    Ok(())
}

fn request<'h>(head: &'h RequestHead, namespace: &'h Namespace) -> Request<'h> {
    Request {
        method: head.method(),
        scheme: "http",
        authority: head.authority(),
        port: 80,
        path: "/products/17",
        query: Some("page=2"),
        headers: head,
        caller: Caller {
            namespace,
            labels: None,
            service_account: None,
            address: None,
        },
    }
}

/// Reads a caller's deadline, bounds the exchange by it and tells the next hop.
pub(super) fn deadline(times: u64) -> anyhow::Result<()> {
    let table = routes::table(SERVICE)?;
    let said = Said {
        is_call: true,
        grpc_timeout: Some(b"250m"),
        field: None,
    };
    for _ in 0..times {
        let (asked, _) = deadline::heard(black_box(said), false, || Duration::ZERO);
        let bounds = deadline::bounds(&table.timeouts, asked);
        let told = bounds.told.map(deadline::sent_on);
        ensure!(black_box(told).is_some(), "nothing is told");
    }
    Ok(())
}
