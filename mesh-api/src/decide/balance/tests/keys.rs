//! Picks by a key: shares, and what moves when an endpoint leaves.

use std::net::SocketAddr;

use super::*;
use crate::decide::tests::destination;
use crate::model::backend::Backend;
use crate::snapshot::{BackendTable, KeyTable, hash};

const KEYS: u32 = 20_000;

fn backend(algorithm: Algorithm, addresses: &[String], weights: &[u32]) -> BackendTable {
    let mut backend: Backend = destination(Vec::new()).backends.remove(0);
    backend.settings.algorithm.value = algorithm;
    let sample = backend.endpoints[0].clone();
    let mut endpoints = Vec::new();
    for (at, address) in addresses.iter().enumerate() {
        let mut endpoint = sample.clone();
        endpoint.address = address.parse::<SocketAddr>().unwrap();
        endpoint.weight = weights.get(at).copied().unwrap_or(100);
        endpoints.push(endpoint);
    }
    backend.endpoints = endpoints;
    backend.into()
}

fn addresses(count: usize) -> Vec<String> {
    let address = |n: usize| format!("10.{}.{}.{}:8080", n / 60_000, n / 250 % 240, n % 250 + 1);
    (0..count).map(address).collect()
}

/// Where each key leads, as the endpoint's address; `None`s are not left.
fn led(table: &BackendTable, members: &Fixed) -> Vec<SocketAddr> {
    let weights = Weights::new(table.endpoints.iter().map(|endpoint| endpoint.weight));
    let keys = table.keys.as_ref().unwrap();
    let mut room = Vec::new();
    (0..KEYS)
        .map(|user| {
            let key = hash::key(format!("user-{user}").as_bytes());
            let choice = Choice {
                algorithm: table.settings.algorithm.value,
                weights: &weights,
                key: Some((keys, key)),
                warms: false,
            };
            let at = choose(&choice, members, (0, &mut room), &mut Seeded(1)).unwrap();
            table.endpoints[at].address
        })
        .collect()
}

fn good(count: usize) -> Fixed {
    Fixed(vec![(GOOD, 1.0); count])
}

fn share(of_keys: usize) -> f64 {
    f64::from(u32::try_from(of_keys).unwrap()) / f64::from(KEYS)
}

/// The share of keys that move when the endpoint at `gone` leaves, times the number of endpoints.
fn moved(algorithm: Algorithm, count: usize, gone: usize) -> f64 {
    let all = addresses(count);
    let before = led(&backend(algorithm, &all, &[]), &good(count));
    let mut rest = all;
    rest.remove(gone);
    let after = led(&backend(algorithm, &rest, &[]), &good(count - 1));
    let differ = before.iter().zip(&after).filter(|(a, b)| a != b).count();
    share(differ) * f64::from(u32::try_from(count).unwrap())
}

const BOTH: [Algorithm; 2] = [Algorithm::RingHash, Algorithm::Maglev];

#[test]
fn an_endpoint_that_leaves_takes_few_keys_of_others_along() {
    for algorithm in BOTH {
        for count in [2, 5, 10, 20] {
            for gone in [0, count / 2] {
                let moved = moved(algorithm, count, gone);
                assert!(moved <= 1.2, "{algorithm:?}: {moved}/n of n = {count}");
            }
        }
    }
}

/// What it comes to for more endpoints; run with `--ignored --nocapture` for the figures.
#[test]
#[ignore = "takes long; its figures are in the guide"]
fn figures_of_larger_backends() {
    for algorithm in BOTH {
        for count in [50, 100, 200, 500, 1000] {
            let moved = moved(algorithm, count, count / 2);
            println!("{algorithm:?} n = {count}: {moved:.2}/n of {KEYS} keys moved");
        }
    }
}

#[test]
fn shares_are_those_of_the_weights() {
    let weights = [100, 50, 200, 100, 50];
    for algorithm in BOTH {
        let table = backend(algorithm, &addresses(5), &weights);
        let led = led(&table, &good(5));
        for endpoint in &table.endpoints {
            let count = led.iter().filter(|to| **to == endpoint.address).count();
            let share = share(count);
            let wanted = f64::from(endpoint.weight) / 500.0;
            assert!(
                (share / wanted - 1.0).abs() < 0.15,
                "{algorithm:?}: {share} for {wanted}"
            );
        }
    }
}

#[test]
fn what_cannot_serve_is_walked_past_and_moves_nobody_else() {
    for algorithm in BOTH {
        let table = backend(algorithm, &addresses(6), &[]);
        let before = led(&table, &good(6));
        for standing in [TRIED, STALE, FAILED, EJECTED] {
            let mut members = good(6);
            members.0[2].0 = standing;
            let after = led(&table, &members);
            let out = table.endpoints[2].address;
            let mut found = std::collections::BTreeSet::new();
            for (before, after) in before.iter().zip(&after) {
                assert!(*before == out || before == after);
                assert_ne!(*after, out);
                found.extend((*before == out).then_some(*after));
            }
            assert_eq!(found.len(), 5, "its keys go to all others");
        }
    }
}

#[test]
fn what_was_chosen_is_chosen_by_every_build() {
    // Where the order in which endpoints were given, other entries and the build may differ, these may not.
    let names = [
        "alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi",
    ];
    for (algorithm, wanted) in [
        (Algorithm::RingHash, [3, 4, 3, 2, 3, 0, 1, 4]),
        (Algorithm::Maglev, [3, 2, 0, 2, 1, 2, 0, 0]),
    ] {
        let table = backend(algorithm, &addresses(5), &[]);
        let keys = table.keys.as_ref().unwrap();
        let chosen = names.map(|name| keys.find(hash::key(name.as_bytes()), |_| true).unwrap());
        assert_eq!(chosen, wanted, "{algorithm:?}");
    }
}

#[test]
fn tables_are_bounded_whatever_the_weights() {
    let all = addresses(3000);
    for weights in [vec![], vec![10_000; 3000], vec![1; 3000]] {
        for (algorithm, most) in [(Algorithm::RingHash, 262_144), (Algorithm::Maglev, 655_373)] {
            let table = backend(algorithm, &all, &weights);
            let size = match table.keys.as_ref().unwrap() {
                KeyTable::Ring(ring) => ring.len(),
                KeyTable::Maglev(maglev) => maglev.len(),
            };
            assert!((3000..=most).contains(&size), "{algorithm:?}: {size}");
        }
    }
    assert!(led_nowhere(Algorithm::RingHash) && led_nowhere(Algorithm::Maglev));
}

fn led_nowhere(algorithm: Algorithm) -> bool {
    let table = backend(algorithm, &[], &[]);
    table
        .keys
        .is_some_and(|keys| keys.find(1, |_| true).is_none())
}
