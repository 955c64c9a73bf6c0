//! Which copies of a request are made, how they are marked, and what of two answers differs.

use std::time::Duration;

use crate::decide::target;
use crate::model::mirror::Mirroring;

/// The field that a copy carries: the destination of the request that it is of.
pub const MARK: &str = "mesh-mirror";

/// The Host of a copy: `-shadow` after the first label, as other meshes mark it; addresses stay.
pub fn shadow_host(authority: &str) -> String {
    let host = target::host(authority);
    let is_address = host.starts_with('[') || host.parse::<std::net::IpAddr>().is_ok();
    if host.is_empty() || is_address {
        return authority.to_owned();
    }
    let port = authority.strip_prefix(host).unwrap_or_default();
    match host.split_once('.') {
        Some((first, rest)) => format!("{first}-shadow.{rest}{port}"),
        None => format!("{host}-shadow{port}"),
    }
}

/// What is known of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its status; `None` where there was no answer.
    pub status: Option<u16>,
    /// To its head.
    pub latency: Duration,
    /// Of its content; `None` where that did not end.
    pub body: Option<u64>,
}

/// What a comparison found, as metrics name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compared {
    /// `status`, `body` or `latency`.
    pub what: &'static str,
    /// `equal` or `different`; of latencies in which bounds the copy's lies beside the other.
    pub result: &'static str,
}

/// Compares a request's answer with that of its copy.
pub fn compare(
    settings: &Mirroring,
    primary: &Seen,
    copy: &Seen,
) -> impl Iterator<Item = Compared> + use<> {
    let found = |what, is_equal: bool| Compared {
        what,
        result: if is_equal { "equal" } else { "different" },
    };
    let status = settings
        .status
        .then(|| found("status", primary.status == copy.status));
    let body = settings
        .body_hash
        .then(|| found("body", primary.body.is_some() && primary.body == copy.body));
    let latency = settings.latency.then(|| Compared {
        what: "latency",
        result: difference(primary.latency, copy.latency),
    });
    [status, body, latency].into_iter().flatten()
}

fn difference(primary: Duration, copy: Duration) -> &'static str {
    const SLOWER: [(u64, &str); 5] = [
        (1, "within 1ms"),
        (10, "slower by up to 10ms"),
        (100, "slower by up to 100ms"),
        (1_000, "slower by up to 1s"),
        (u64::MAX, "slower by more than 1s"),
    ];
    const FASTER: [(u64, &str); 5] = [
        (1, "within 1ms"),
        (10, "faster by up to 10ms"),
        (100, "faster by up to 100ms"),
        (1_000, "faster by up to 1s"),
        (u64::MAX, "faster by more than 1s"),
    ];
    let table = if copy >= primary { SLOWER } else { FASTER };
    let apart = copy.abs_diff(primary);
    let within = |(most, _): &&(u64, &str)| apart <= Duration::from_millis(*most);
    table
        .iter()
        .find(within)
        .map_or("unknown", |(_, name)| name)
}

/// A hash of content that comes in pieces (FNV-1a, 64 bits): the same however it is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentHash(u64);

impl Default for ContentHash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl ContentHash {
    /// Adds a piece.
    pub fn add(&mut self, piece: &[u8]) {
        for byte in piece {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// Of all pieces so far.
    pub fn value(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_marked_and_addresses_stay() {
        for (authority, expected) in [
            ("catalog", "catalog-shadow"),
            ("catalog:80", "catalog-shadow:80"),
            ("catalog.demo.svc:80", "catalog-shadow.demo.svc:80"),
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("[fd00::1]:80", "[fd00::1]:80"),
            ("", ""),
        ] {
            assert_eq!(shadow_host(authority), expected);
        }
    }

    #[test]
    fn a_hash_is_the_same_however_content_is_cut() {
        let hash = |pieces: &[&str]| {
            let mut hash = ContentHash::default();
            for piece in pieces {
                hash.add(piece.as_bytes());
            }
            hash.value()
        };
        assert_eq!(hash(&["foobar"]), 0x8594_4171_f739_67e8);
        assert_eq!(hash(&["foo", "", "bar"]), hash(&["foobar"]));
        assert_ne!(hash(&["foobaz"]), hash(&["foobar"]));
    }

    #[test]
    fn answers_are_compared_as_asked() {
        let seen = |status, millis, body| Seen {
            status: Some(status),
            latency: Duration::from_millis(millis),
            body,
        };
        let all = Mirroring {
            status: true,
            latency: true,
            body_hash: true,
            ..Mirroring::default()
        };
        for (copy, expected) in [
            (seen(200, 5, Some(1)), "equal equal within 1ms"),
            (
                seen(503, 50, Some(2)),
                "different different slower by up to 100ms",
            ),
            (seen(200, 1, None), "equal different faster by up to 10ms"),
            (
                seen(200, 9_000, Some(1)),
                "equal equal slower by more than 1s",
            ),
        ] {
            let found = compare(&all, &seen(200, 5, Some(1)), &copy);
            let found: Vec<_> = found.map(|one| one.result).collect();
            assert_eq!(found.join(" "), expected);
        }
        let none = Mirroring::default();
        let seen = seen(200, 5, None);
        assert_eq!(compare(&none, &seen, &seen).count(), 0);
    }
}
