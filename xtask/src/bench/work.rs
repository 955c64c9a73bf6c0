//! The works, and the bounds that they must keep. Pure.

use anyhow::bail;

use crate::bench::peer::{Door, Peer};

/// One kind of load.
#[derive(Clone, Copy, Debug)]
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

/// What a median is held to.
#[derive(Debug)]
pub(crate) struct Bound {
    /// Who is held to it.
    pub(crate) who: &'static str,
    pub(crate) figure: Figure,
    pub(crate) times: f64,
    /// The peer in the same rounds.
    pub(crate) peer: &'static str,
    /// The peer's work, where it is another.
    pub(crate) work: Option<&'static str>,
    /// It is judged in floating mode, and only there.
    pub(crate) floating: bool,
}

/// A figure of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Figure {
    /// CPU of both proxies per request: at most.
    Cpu,
    /// CPU of the second proxy alone: at most.
    Second,
    /// The first, for bytes per core-second, which is its inverse: at least.
    Bytes,
    /// Median latency: at most.
    P50,
    /// 99th percentile: at most.
    P99,
}

/// Ours against a peer at the same work.
const fn bound(figure: Figure, times: f64, peer: &'static str) -> Bound {
    Bound {
        who: "ours",
        figure,
        times,
        peer,
        work: None,
        floating: false,
    }
}

/// Ours against ours at another work.
const fn own(figure: Figure, times: f64, work: &'static str) -> Bound {
    Bound {
        work: Some(work),
        ..bound(figure, times, "ours")
    }
}

const fn load(
    name: &'static str,
    kind: &'static str,
    connections: u32,
    size: u32,
    bounds: &'static [Bound],
) -> Work {
    Work {
        name,
        kind,
        connections,
        size,
        rate: None,
        door: Door::Http,
        bounds,
    }
}

const fn at(door: Door, work: Work) -> Work {
    Work { door, ..work }
}

/// Handshakes on the hybrid group.
const HYBRID: &str = "handshake-hybrid";
const KIB: u32 = 1024;
const MIB: u32 = 1024 * KIB;

const WORKS: &[Work] = &[
    load(
        "h1-c64",
        "http",
        64,
        128,
        &[
            bound(Figure::Cpu, 0.14, "envoy"),
            bound(Figure::Cpu, 0.75, "ref-tls"),
            Bound {
                who: "ours-grown",
                ..bound(Figure::Cpu, 1.1, "ours")
            },
            Bound {
                floating: true,
                ..bound(Figure::Cpu, 1.15, "ours-one")
            },
        ],
    ),
    load(
        "h1-c1",
        "http",
        1,
        128,
        &[bound(Figure::Cpu, 0.30, "envoy")],
    ),
    load("h1-c16", "http", 16, 128, &[]),
    load(
        "h1-c256",
        "http",
        256,
        128,
        &[own(Figure::Cpu, 1.15, "h1-c64")],
    ),
    load(
        "h1-10k",
        "http",
        64,
        10 * KIB,
        &[bound(Figure::Cpu, 0.25, "envoy")],
    ),
    load(
        "h1-1m",
        "http",
        8,
        MIB,
        &[bound(Figure::Bytes, 0.85, "ref-tls")],
    ),
    load(
        "conn-c16",
        "connect",
        16,
        128,
        &[
            bound(Figure::Cpu, 0.40, "envoy"),
            bound(Figure::Cpu, 1.0, "nginx"),
        ],
    ),
    at(
        Door::Second,
        load(
            "tls-hs",
            "handshake",
            16,
            0,
            &[bound(Figure::Second, 0.75, "envoy")],
        ),
    ),
    at(
        Door::Second,
        load(
            "tls-hs-hybrid",
            HYBRID,
            16,
            0,
            &[own(Figure::Second, 1.4, "tls-hs")],
        ),
    ),
    Work {
        rate: Some(1000),
        ..load(
            "lat-1000",
            "http",
            16,
            128,
            &[
                bound(Figure::P50, 1.0, "ref-tls"),
                bound(Figure::P99, 1.1, "ref-tls"),
                bound(Figure::Cpu, 0.30, "envoy"),
            ],
        )
    },
    at(
        Door::H2,
        load(
            "h2-4x16",
            "h2",
            4,
            128,
            &[bound(Figure::Cpu, 0.45, "envoy")],
        ),
    ),
    at(Door::H2, load("h2-1m", "h2", 1, MIB, &[])),
    at(
        Door::H2,
        load(
            "grpc-4x16",
            "grpc",
            4,
            128,
            &[bound(Figure::Cpu, 0.45, "envoy")],
        ),
    ),
    at(
        Door::Echo,
        load(
            "echo-c16",
            "echo",
            16,
            128,
            &[bound(Figure::Cpu, 0.55, "envoy-tcp")],
        ),
    ),
    at(
        Door::Bulk,
        load(
            "bulk-c2",
            "bulk",
            2,
            64 * KIB,
            &[bound(Figure::Bytes, 1.2, "envoy-tcp")],
        ),
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
        // Others are told to take X25519 alone.
        let group = self.kind != HYBRID || peer.is_ours();
        group && peer.door(self.door).is_some()
    }

    /// True if one proxy alone is loaded.
    pub(crate) fn is_of_second(&self) -> bool {
        self.door == Door::Second
    }

    /// What its peers are compared by.
    pub(crate) fn figure(&self) -> Figure {
        match self.door {
            Door::Second => Figure::Second,
            _ => Figure::Cpu,
        }
    }

    /// The peer that others are compared with: an Envoy that does the same.
    pub(crate) fn base(&self) -> &'static str {
        match self.door {
            Door::Http | Door::H2 | Door::Second => "envoy",
            Door::Echo | Door::Bulk => "envoy-tcp",
        }
    }
}
