//! Picks, by how endpoints stand and what they weigh.

mod keys;
mod locality;
mod warm;

use super::*;
use crate::decide::tests::Seeded;
use proptest::prelude::*;

fn candidate(weight: u32, load: f64, usable: bool) -> Candidate {
    Candidate {
        weight,
        load,
        usable,
    }
}

fn shares(algorithm: Algorithm, candidates: &[Candidate], picks: u64) -> Vec<u64> {
    let mut random = Seeded(7);
    let mut counts = vec![0; candidates.len()];
    for turn in 0..picks {
        counts[pick(algorithm, candidates, turn, &mut random).unwrap()] += 1;
    }
    counts
}

struct Fixed(Vec<(Standing, f64)>);

impl Members for Fixed {
    fn standing(&self, index: usize) -> Standing {
        self.0[index].0
    }

    fn load(&self, index: usize) -> f64 {
        self.0[index].1
    }

    fn outstanding(&self, index: usize) -> u64 {
        format!("{:.0}", self.0[index].1).parse().unwrap()
    }
}

/// A choice without a key.
fn by(algorithm: Algorithm, weights: &Weights) -> Choice<'_> {
    Choice {
        algorithm,
        weights,
        key: None,
        warms: false,
    }
}

const GOOD: Standing = Standing {
    tried: false,
    stale: false,
    failed: false,
    ejected: false,
};
const TRIED: Standing = Standing {
    tried: true,
    ..GOOD
};
const STALE: Standing = Standing {
    stale: true,
    ..GOOD
};
const FAILED: Standing = Standing {
    failed: true,
    ..GOOD
};
const EJECTED: Standing = Standing {
    ejected: true,
    ..FAILED
};

fn chosen(weights: &[u32], members: &Fixed, picks: u64) -> Vec<u64> {
    let (mut random, mut room) = (Seeded(7), Vec::new());
    let weights = Weights::new(weights.iter().copied());
    let mut counts = vec![0; members.0.len()];
    for turn in 0..picks {
        let place = (turn, &mut room);
        let index = choose(
            &by(Algorithm::PeakEwma, &weights),
            members,
            place,
            &mut random,
        );
        counts[index.unwrap()] += 1;
    }
    counts
}

#[test]
fn endpoints_come_in_the_order_of_their_standing() {
    let cases: [(&[Standing], &[usize]); 8] = [
        (&[GOOD, GOOD, STALE, FAILED], &[0, 1]),
        (&[TRIED, STALE, FAILED], &[1]),
        (&[TRIED, STALE, STALE, EJECTED], &[1, 2]),
        (&[TRIED, FAILED, EJECTED], &[1]),
        // More than half are out, and the set shrank: that is not heeded.
        (&[TRIED, EJECTED, EJECTED], &[1, 2]),
        (&[EJECTED], &[0]),
        (&[TRIED, TRIED], &[]),
        (&[], &[]),
    ];
    for (standings, wanted) in cases {
        let members = Fixed(standings.iter().map(|standing| (*standing, 1.0)).collect());
        let weights = Weights::new(standings.iter().map(|_| 100));
        let mut random = Seeded(3);
        let picks = (0..60).filter_map(|turn| {
            let place = (turn, &mut Vec::new());
            choose(
                &by(Algorithm::PeakEwma, &weights),
                &members,
                place,
                &mut random,
            )
        });
        let picked: std::collections::BTreeSet<usize> = picks.collect();
        assert_eq!(Vec::from_iter(picked), wanted, "{standings:?}");
    }
}

#[test]
fn those_drawn_are_those_that_a_look_at_all_would_give() {
    let even = chosen(&[100; 4], &Fixed(vec![(GOOD, 1.0); 4]), 40_000);
    let about = |count: &u64| (9_500..10_500).contains(count);
    assert!(even.iter().all(about), "{even:?}");
    let weighted = chosen(&[900, 100], &Fixed(vec![(GOOD, 1.0); 2]), 10_000);
    assert!((850..1150).contains(&weighted[1]), "{weighted:?}");
    let loaded = Fixed(vec![(GOOD, 9.0), (GOOD, 1.0)]);
    let loaded = chosen(&[900, 100], &loaded, 10_000);
    assert!((1_750..2_050).contains(&loaded[1]), "{loaded:?}");
    // One of a hundred is lost, and the rest share alike.
    let mut members = Fixed(vec![(GOOD, 1.0); 100]);
    members.0[17].0 = FAILED;
    let counts = chosen(&[5; 100], &members, 99_000);
    let within = |(index, count): (usize, &u64)| match index {
        17 => *count == 0,
        _ => (800..1200).contains(count),
    };
    assert!(counts.iter().enumerate().all(within), "{counts:?}");
}

#[test]
fn weights_are_as_they_were_given() {
    for given in [&[7, 7, 7][..], &[3, 0, 9], &[], &[u32::MAX, 1]] {
        let weights = Weights::new(given.iter().copied());
        let told: Vec<u32> = (0..given.len()).map(|index| weights.of(index)).collect();
        let wanted: Vec<u32> = given.iter().map(|weight| (*weight).max(1)).collect();
        assert_eq!(told, wanted);
    }
}

#[test]
fn round_robin_is_exact() {
    let three = [candidate(100, 0.0, true); 3];
    assert_eq!(shares(Algorithm::RoundRobin, &three, 300), [100, 100, 100]);
    let mixed = [
        candidate(300, 0.0, true),
        candidate(5, 0.0, false),
        candidate(200, 9.0, true),
    ];
    assert_eq!(shares(Algorithm::RoundRobin, &mixed, 500), [300, 0, 200]);
    let order: Vec<_> = (0..5)
        .map(|turn| pick(Algorithm::RoundRobin, &mixed, turn, &mut Seeded(1)).unwrap())
        .collect();
    assert_ne!(order, [0, 0, 0, 2, 2], "turns are spread");
}

#[test]
fn two_choices_take_the_lighter() {
    let loads = [candidate(100, 1.0, true), candidate(100, 5.0, true)];
    assert_eq!(shares(Algorithm::PeakEwma, &loads, 1000), [1000, 0]);
    let even = shares(Algorithm::PeakEwma, &[candidate(100, 1.0, true); 4], 40_000);
    assert!(
        even.iter().all(|count| (9_500..10_500).contains(count)),
        "{even:?}"
    );
    let weighted = [candidate(900, 1.0, true), candidate(100, 1.0, true)];
    let counts = shares(Algorithm::PeakEwma, &weighted, 10_000);
    assert!((850..1150).contains(&counts[1]), "{counts:?}");
    let loaded = [candidate(900, 9.0, true), candidate(100, 1.0, true)];
    let counts = shares(Algorithm::PeakEwma, &loaded, 10_000);
    assert!(
        (1_750..2_050).contains(&counts[1]),
        "1-(1-p)^2 = 0.19: {counts:?}"
    );
}

#[test]
fn none_usable_means_all() {
    let none = [candidate(1, 0.0, false); 2];
    let counts = shares(Algorithm::PeakEwma, &none, 1000);
    assert!(counts.iter().all(|count| *count > 400), "{counts:?}");
    assert_eq!(pick(Algorithm::PeakEwma, &[], 0, &mut Seeded(1)), None);
}

proptest! {
    #[test]
    fn only_usable_are_picked(
        raw in prop::collection::vec((0u32..10_001, 0f64..1e6, any::<bool>()), 1..40),
        turn: u64, seed: u64, even: bool,
    ) {
        let candidates: Vec<_> = raw.iter()
            .map(|(w, load, usable)| candidate(if even { 100 } else { *w }, *load, *usable)).collect();
        for algorithm in [Algorithm::PeakEwma, Algorithm::LeastRequest, Algorithm::RoundRobin, Algorithm::Random] {
            let picked = pick(algorithm, &candidates, turn, &mut Seeded(seed)).unwrap();
            prop_assert!(candidates[picked].usable || candidates.iter().all(|c| !c.usable));
        }
    }
}
