//! The works, and the bounds that they must keep. Pure.

use anyhow::bail;

use crate::bench::peer::{Door, Peer};

/// One kind of load.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) name: &'static str,
    /// What the load is told to send.
    pub(crate) kind: &'static str,
    pub(crate) connections: u32,
    /// Bytes of an answer.
    pub(crate) size: u32,
    /// Requests per second, for an open loop.
    pub(crate) rate: Option<u32>,
    /// Which of a peer's listeners it uses.
    pub(crate) door: Door,
    pub(crate) bounds: &'static [Bound],
}

/// What a median of ours is held to.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) figure: Figure,
    pub(crate) times: f64,
    /// The peer in the same rounds.
    pub(crate) peer: &'static str,
}

/// A figure of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Figure {
    /// CPU of both proxies per request: at most.
    Cpu,
    /// The same for bytes per core-second, which is its inverse: at least.
    Bytes,
    /// Median latency: at most.
    P50,
    /// 99th percentile: at most.
    P99,
}

const fn bound(figure: Figure, times: f64, peer: &'static str) -> Bound {
    Bound {
        figure,
        times,
        peer,
    }
}

const fn http(name: &'static str, connections: u32, size: u32, bounds: &'static [Bound]) -> Work {
    Work {
        name,
        kind: "http",
        connections,
        size,
        rate: None,
        door: Door::Http,
        bounds,
    }
}

const fn opaque(
    name: &'static str,
    kind: &'static str,
    door: Door,
    connections: u32,
    bounds: &'static [Bound],
) -> Work {
    Work {
        name,
        kind,
        connections,
        size: 64 * 1024,
        rate: None,
        door,
        bounds,
    }
}

const WORKS: &[Work] = &[
    http(
        "h1-c64",
        64,
        128,
        &[
            bound(Figure::Cpu, 0.14, "envoy"),
            bound(Figure::Cpu, 0.75, "ref-tls"),
        ],
    ),
    http("h1-c1", 1, 128, &[bound(Figure::Cpu, 0.30, "envoy")]),
    http("h1-c16", 16, 128, &[]),
    http("h1-c256", 256, 128, &[]),
    http(
        "h1-10k",
        64,
        10 * 1024,
        &[bound(Figure::Cpu, 0.25, "envoy")],
    ),
    http(
        "h1-1m",
        8,
        1024 * 1024,
        &[bound(Figure::Bytes, 0.85, "ref-tls")],
    ),
    Work {
        name: "conn-c16",
        kind: "connect",
        connections: 16,
        size: 128,
        rate: None,
        door: Door::Http,
        bounds: &[
            bound(Figure::Cpu, 0.40, "envoy"),
            bound(Figure::Cpu, 1.0, "nginx"),
        ],
    },
    Work {
        name: "lat-1000",
        kind: "http",
        connections: 16,
        size: 128,
        rate: Some(1000),
        door: Door::Http,
        bounds: &[
            bound(Figure::P50, 1.0, "ref-tls"),
            bound(Figure::P99, 1.1, "ref-tls"),
            bound(Figure::Cpu, 0.30, "envoy"),
        ],
    },
    Work {
        name: "h2-4x16",
        kind: "h2",
        connections: 4,
        size: 128,
        rate: None,
        door: Door::H2,
        bounds: &[bound(Figure::Cpu, 0.45, "envoy")],
    },
    Work {
        name: "h2-1m",
        kind: "h2",
        connections: 1,
        size: 1024 * 1024,
        rate: None,
        door: Door::H2,
        bounds: &[],
    },
    Work {
        name: "grpc-4x16",
        kind: "grpc",
        connections: 4,
        size: 128,
        rate: None,
        door: Door::H2,
        bounds: &[bound(Figure::Cpu, 0.45, "envoy")],
    },
    opaque(
        "echo-c16",
        "echo",
        Door::Echo,
        16,
        &[bound(Figure::Cpu, 0.55, "envoy-tcp")],
    ),
    opaque(
        "bulk-c2",
        "bulk",
        Door::Bulk,
        2,
        &[bound(Figure::Bytes, 1.2, "envoy-tcp")],
    ),
];

/// What is measured without load.
const FOOTING: [&str; 2] = ["rss", "start"];

/// The names of all works.
pub(crate) fn names() -> Vec<&'static str> {
    let names = WORKS.iter().map(|work| work.name);
    names.chain(FOOTING).collect()
}

/// The named works with load; all if none is named.
pub(crate) fn chosen(names: &[String]) -> anyhow::Result<Vec<&'static Work>> {
    if names.is_empty() {
        return Ok(WORKS.iter().collect());
    }
    let find = |name: &String| {
        let Some(work) = WORKS.iter().find(|work| work.name == name) else {
            bail!("there is no work {name}");
        };
        Ok(work)
    };
    let loads = names
        .iter()
        .filter(|name| !FOOTING.contains(&name.as_str()));
    loads.map(find).collect()
}

impl Work {
    /// True if the peer has what the work needs.
    pub(crate) fn takes(&self, peer: &Peer) -> bool {
        peer.door(self.door).is_some()
    }

    /// The peer that others are compared with: an Envoy that does the same.
    pub(crate) fn base(&self) -> &'static str {
        match self.door {
            Door::Http | Door::H2 => "envoy",
            Door::Echo | Door::Bulk => "envoy-tcp",
        }
    }
}
