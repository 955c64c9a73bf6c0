//! Endpoints that are new, and have a part of their weight.

use std::time::Duration;

use super::*;
use crate::decide::balance::warm::{FLOOR, FULL, warmth};

const PICKS: u64 = 40_000;

/// Endpoints by their part of the weight and their load.
struct Warming(Vec<(u32, f64)>);

impl Members for Warming {
    fn standing(&self, _: usize) -> Standing {
        GOOD
    }

    fn load(&self, index: usize) -> f64 {
        self.0[index].1
    }

    fn outstanding(&self, _: usize) -> u64 {
        0
    }

    fn warmth(&self, index: usize) -> u32 {
        self.0[index].0
    }
}

fn counts(algorithm: Algorithm, weights: &[u32], members: &Warming) -> Vec<u64> {
    let (mut random, mut room) = (Seeded(11), Vec::new());
    let weights = Weights::new(weights.iter().copied());
    let choice = Choice {
        warms: true,
        ..by(algorithm, &weights)
    };
    let mut counts = vec![0; members.0.len()];
    for turn in 0..PICKS {
        let index = choose(&choice, members, (turn, &mut room), &mut random).unwrap();
        counts[index] += 1;
    }
    counts
}

#[test]
fn the_part_grows_in_a_straight_line() {
    let window = Duration::from_secs(30);
    for (seconds, percent) in [
        (0, FLOOR),
        (10, 40),
        (15, 55),
        (29, 97),
        (30, FULL),
        (999, FULL),
    ] {
        assert_eq!(warmth(Duration::from_secs(seconds), window), percent);
    }
    assert_eq!(warmth(Duration::ZERO, Duration::ZERO), FULL);
    let ages = (0..1000).map(|step| warmth(window * step / 1000, window));
    assert!(ages.is_sorted());
}

#[test]
fn a_new_endpoint_has_its_part_of_the_share() {
    // The new one has a tenth: 1 of 31.
    let even = Warming(vec![(FULL, 1.0), (FULL, 1.0), (FULL, 1.0), (FLOOR, 1.0)]);
    for algorithm in [
        Algorithm::PeakEwma,
        Algorithm::LeastRequest,
        Algorithm::Random,
    ] {
        let of_new = counts(algorithm, &[100; 4], &even)[3];
        // Mean 1,290, standard deviation 35.
        assert!((1_110..1_470).contains(&of_new), "{algorithm:?}: {of_new}");
    }
    let turns = counts(Algorithm::RoundRobin, &[100; 4], &even);
    // Turns are exact: 310 slots.
    let wanted = PICKS * 10 / 310;
    assert!(turns[3].abs_diff(wanted) <= 10, "{turns:?}");
    // By weight and part: 30 of 230.
    let weighted = Warming(vec![(FULL, 1.0), (30, 1.0)]);
    let of_new = counts(Algorithm::Random, &[200, 100], &weighted)[1];
    // Mean 5,217, standard deviation 67.
    assert!((4_870..5_560).contains(&of_new), "{of_new}");
}

#[test]
fn less_load_does_not_give_a_new_endpoint_all() {
    // Of two, where the new one has no load: 1-(1-p)² of p = 1/11.
    let idle = Warming(vec![(FULL, 9.0), (FLOOR, 0.0)]);
    let of_new = counts(Algorithm::PeakEwma, &[100; 2], &idle)[1];
    // Mean 6,942, standard deviation 76.
    assert!((6_560..7_330).contains(&of_new), "{of_new}");
}

#[test]
fn where_all_are_new_none_is() {
    let new = Warming(vec![(FLOOR, 1.0); 4]);
    let even = counts(Algorithm::Random, &[100; 4], &new);
    assert!(
        even.iter().all(|count| (9_500..10_500).contains(count)),
        "{even:?}"
    );
    let turns = counts(Algorithm::RoundRobin, &[100; 4], &new);
    assert_eq!(turns, [PICKS / 4; 4]);
}
