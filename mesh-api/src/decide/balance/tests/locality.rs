//! Endpoints in tiers.

use std::net::SocketAddr;

use super::*;
use crate::decide::balance::locality::{Near, Shares, Tiers};
use crate::model::backend::{Endpoint, Transport};
use crate::model::locality::{Area, Distribution, Failover, Locality, LocalityPreference};

const PICKS: u32 = 20_000;

fn locality(text: &str) -> Locality {
    let (region, zone) = text.split_once('/').unwrap_or((text, ""));
    Locality {
        region: region.to_owned(),
        zone: zone.to_owned(),
    }
}

fn area(text: &str) -> Area {
    let Locality { region, zone } = locality(text);
    Area {
        region,
        zone: (!zone.is_empty()).then_some(zone),
    }
}

/// Endpoints at these places; `-` is nowhere.
fn endpoints(places: &str) -> Vec<Endpoint> {
    let each = places.split(' ').zip(1..);
    each.map(|(place, port)| Endpoint {
        address: SocketAddr::from(([127, 0, 0, 1], port)),
        workload: None,
        transport: Transport::Plain,
        weight: 100,
        stale: false,
        locality: (place != "-").then(|| locality(place)),
    })
    .collect()
}

fn prefer_local(failover: &[(&str, &str)]) -> LocalityPreference {
    let failover = failover.iter().map(|(from, to)| Failover {
        from: (*from).to_owned(),
        to: (*to).to_owned(),
    });
    LocalityPreference {
        prefer_local: true,
        failover: failover.collect(),
        weights: Vec::new(),
    }
}

fn weighted(from: &str, to: &[(&str, u32)]) -> LocalityPreference {
    LocalityPreference {
        prefer_local: false,
        failover: Vec::new(),
        weights: vec![Distribution {
            from: area(from),
            to: to
                .iter()
                .map(|(text, share)| (area(text), *share))
                .collect(),
        }],
    }
}

fn tiers(preference: &LocalityPreference, places: &str) -> Tiers {
    Tiers::new(&locality("eu-1/a"), preference, &endpoints(places)).unwrap()
}

/// How often each endpoint is picked, of those that stand so.
fn picks(tiers: &Tiers, standings: &[Standing], algorithm: Algorithm) -> Vec<u32> {
    let members = Fixed(standings.iter().map(|standing| (*standing, 1.0)).collect());
    let weights = Weights::new(standings.iter().map(|_| 100));
    let shares = tiers.shares(|at| standings[at].is_well());
    let (mut random, mut room) = (Seeded(5), Vec::new());
    let mut counts = vec![0; standings.len()];
    for turn in 0..PICKS.into() {
        let choice = by(algorithm, &weights);
        let place = (turn, &mut room);
        let picked = tiers.choose(&shares, &choice, &members, place, &mut random);
        counts[picked.unwrap()] += 1;
    }
    counts
}

#[test]
fn the_nearest_come_first() {
    let preference = prefer_local(&[("eu-1", "eu-2"), ("us-1", "us-2"), ("eu-1", "us-1")]);
    // Zone, region, by failover, others; a zone without a region is one of that name.
    let places = "eu-1/a eu-1/b us-1/a eu-2 eu-3/a - /a";
    let tiers = tiers(&preference, places);
    let near: Vec<&str> = (0..7).map(|at| tiers.near(at).as_str()).collect();
    let expected = [
        "zone", "region", "failover", "failover", "other", "other", "zone",
    ];
    assert_eq!(near, expected);
    let mut standings = [GOOD; 7];
    let order: [&[usize]; 5] = [&[0, 6], &[1], &[3], &[2], &[4, 5]];
    for tier in order {
        let counts = picks(&tiers, &standings, Algorithm::PeakEwma);
        for (at, count) in counts.iter().enumerate() {
            assert_eq!(*count > 0, tier.contains(&at), "{tier:?}: {counts:?}");
        }
        for at in tier {
            standings[*at] = FAILED;
        }
    }
    // None is well: all are picked from.
    let counts = picks(&tiers, &standings, Algorithm::Random);
    assert!(counts.iter().all(|count| *count > 2_000), "{counts:?}");
}

#[test]
fn a_tier_leaves_what_it_cannot_carry() {
    // The table of Envoy's priority levels: percent well of each, percent of the share of the first.
    for (first, second, expected) in [
        (100, 100, 100.0),
        (72, 100, 100.0),
        (71, 100, 99.4),
        (50, 100, 70.0),
        (25, 100, 35.0),
        (0, 100, 0.0),
        (25, 25, 50.0),
        (25, 20, 55.55),
        (100, 0, 100.0),
    ] {
        let places = ["eu-1/a"; 100].into_iter().chain(["eu-2/a"; 100]);
        let places: Vec<&str> = places.collect();
        let tiers = tiers(&prefer_local(&[]), &places.join(" "));
        let is_well = |at: usize| at < first || (100..100 + second).contains(&at);
        let shares = tiers.shares(is_well);
        let (chances, whole) = tiers.chances(&shares, is_well);
        let of_first: f64 = chances[..100].iter().sum::<f64>() * 100.0 / whole;
        assert!(
            (of_first - expected).abs() < 0.02,
            "{first}/{second}: {of_first}"
        );
    }
    let none = tiers(&prefer_local(&[]), "eu-1/a eu-2").shares(|_| false);
    assert_eq!(none, Shares::default());
}

#[test]
fn all_that_is_known_against_an_endpoint_counts() {
    let tiers = tiers(&prefer_local(&[]), "eu-1/a eu-2/a");
    for (standing, is_left) in [
        (GOOD, false),
        (STALE, true),
        (FAILED, true),
        (EJECTED, true),
    ] {
        let counts = picks(&tiers, &[standing, GOOD], Algorithm::RoundRobin);
        let all_at = usize::from(is_left);
        assert_eq!(counts[all_at], PICKS, "{standing:?}: {counts:?}");
    }
    // One that was tried is well, but another is picked, wherever it is.
    let counts = picks(&tiers, &[TRIED, GOOD], Algorithm::LeastRequest);
    assert_eq!(counts, [0, PICKS]);
}

#[test]
fn weights_are_shares_of_places_with_good_endpoints() {
    let preference = weighted("eu-1", &[("eu-1/a", 70), ("eu-1", 20), ("eu-2", 10)]);
    let tiers = tiers(&preference, "eu-1/a eu-1/a eu-1/b eu-2/x us-1/a");
    let about = |counts: &[u32], wanted: &[f64]| {
        for (count, wanted) in counts.iter().zip(wanted) {
            let mean = wanted * f64::from(PICKS);
            let bound = 5.0 * (mean * (1.0 - wanted)).sqrt() + 1.0;
            assert!((f64::from(*count) - mean).abs() <= bound, "{counts:?}");
        }
    };
    let mut standings = [GOOD; 5];
    about(
        &picks(&tiers, &standings, Algorithm::Random),
        &[0.35, 0.35, 0.2, 0.1, 0.0],
    );
    // One of two is enough for the place's share; the share of a place without any goes to the others.
    standings[0] = FAILED;
    standings[2] = STALE;
    about(
        &picks(&tiers, &standings, Algorithm::Random),
        &[0.0, 0.875, 0.0, 0.125, 0.0],
    );
    let shares = tiers.shares(|at| standings[at].is_well());
    let (chances, whole) = tiers.chances(&shares, |at| standings[at].is_well());
    assert!((chances[1] / whole - 0.875).abs() < 1e-9, "{chances:?}");
    // What is named nowhere is used where nothing else is well.
    let last = [FAILED, FAILED, FAILED, FAILED, GOOD];
    assert_eq!(picks(&tiers, &last, Algorithm::Random)[4], PICKS);
    assert_eq!(tiers.near(3), Near::Other);
}

#[test]
fn callers_elsewhere_are_not_meant() {
    let preference = weighted("eu-1/b", &[("eu-1", 1)]);
    let found = Tiers::new(&locality("eu-1/a"), &preference, &endpoints("eu-1/a"));
    assert_eq!(found, None);
}
