//! Outlier detection by policy: two workers that share what they see.

use mesh_api::decide::eject::outlier::Cause;
use mesh_api::model::origin::Sourced;
use mesh_api::model::outlier::{FailurePercentage, OutlierDetection};

use super::*;

fn policy() -> OutlierDetection {
    OutlierDetection {
        errors_5xx: 5,
        base_ejection: seconds(10),
        ..OutlierDetection::default()
    }
}

/// Two workers and a backend with a policy.
struct Case {
    workers: [Upstream; 2],
    backend: Arc<BackendTable>,
    start: Instant,
}

impl Case {
    fn new(count: u16, policy: OutlierDetection) -> Self {
        let start = Instant::now();
        let shared = Arc::new(Endpoints::new(start));
        let backend = changed(&backend(count), |backend| {
            backend.settings.outlier_detection = Some(Sourced::default_value(policy));
        });
        Self {
            workers: [1, 2].map(|seed| Upstream::new(Arc::clone(&shared), seed)),
            backend,
            start,
        }
    }

    /// What worker `worker` sees `after` seconds of an attempt that took no time.
    fn judge(
        &mut self,
        worker: usize,
        index: usize,
        outcome: AttemptOutcome,
        after: u64,
    ) -> Vec<Ejected> {
        let now = self.start + seconds(after);
        let upstream = &mut self.workers[worker];
        let group = upstream.group(&self.backend);
        upstream.judge(&group, index, outcome, (Duration::ZERO, now))
    }

    fn picks(&mut self, worker: usize, after: u64) -> HashSet<usize> {
        let now = self.start + seconds(after);
        let picked =
            (0..100).filter_map(|_| pick(&mut self.workers[worker], &self.backend, &[], now));
        picked.collect()
    }

    fn probe(&mut self, worker: usize, method: &str, after: u64) -> Option<(usize, Probe)> {
        let asking = Asking {
            method,
            replayable: true,
            other_left: true,
        };
        let group = self.workers[worker].group(&self.backend);
        self.workers[worker].probe(&group, &asking, (None, &[]), self.start + seconds(after))
    }
}

#[test]
fn errors_in_a_row_count_across_workers_and_a_success_ends_the_row() {
    let mut case = Case::new(2, policy());
    let error = AttemptOutcome::Error;
    for turn in 0..4 {
        assert_eq!(case.judge(turn % 2, 0, error, 0), []);
    }
    assert_eq!(case.judge(0, 0, AttemptOutcome::Answered, 0), []);
    for turn in 0..4 {
        assert_eq!(case.judge(turn % 2, 0, error, 0), []);
    }
    let ejected = Ejected {
        index: 0,
        cause: Cause::Errors5xx,
        duration: seconds(10),
    };
    // What a caller breaks off does not count, and does not end the row.
    assert_eq!(case.judge(1, 0, AttemptOutcome::Cut, 0), []);
    assert_eq!(case.judge(1, 0, AttemptOutcome::Gateway, 0), [ejected]);
    assert_eq!(case.judge(0, 0, error, 0), [], "it is out");
    for worker in [0, 1] {
        assert_eq!(case.picks(worker, 0), HashSet::from([1]));
    }
    let shown = case.workers[0].endpoints().outliers(case.start);
    assert_eq!((shown[0].cause, shown[0].times), ("errors-5xx", 1));
}

#[test]
fn one_request_tries_and_only_its_success_returns() {
    let mut case = Case::new(2, policy());
    for _ in 0..5 {
        case.judge(0, 0, AttemptOutcome::Error, 0);
    }
    assert!(case.probe(0, "GET", 9).is_none(), "too early");
    assert!(
        case.probe(1, "POST", 11).is_none(),
        "it could not go elsewhere"
    );
    assert_eq!(case.picks(1, 11), HashSet::from([1]), "others keep away");
    let probe = case
        .probe(1, "GET", 11)
        .map(|(index, probe)| (index, Some(probe)));
    assert_eq!(probe.as_ref().map(|(index, _)| *index), Some(0));
    assert!(case.probe(0, "GET", 11).is_none(), "one at a time");
    let again = case.judge(1, 0, AttemptOutcome::Error, 11);
    assert_eq!(
        (again[0].cause, again[0].duration),
        (Cause::Probe, seconds(20))
    );
    drop(probe);
    assert!(case.probe(0, "GET", 12).is_none());
    // A late success of before says nothing.
    case.judge(0, 0, AttemptOutcome::Answered, 30);
    assert!(case.picks(0, 30) == HashSet::from([1]));
    // Waited for as long again: any may try.
    assert!(case.probe(0, "POST", 52).is_some());
    let probe = case.probe(0, "GET", 52);
    assert!(probe.is_some(), "the one before is over");
    case.judge(0, 0, AttemptOutcome::Answered, 52);
    assert_eq!(case.picks(0, 52), HashSet::from([0, 1]));
    assert_eq!(case.picks(1, 52), HashSet::from([0, 1]));
}

#[test]
fn the_share_holds_and_panic_uses_all() {
    let mut case = Case::new(4, policy());
    let mut out = 0;
    for index in 0..4 {
        for _ in 0..20 {
            out += case.judge(index % 2, index, AttemptOutcome::Error, 0).len();
        }
    }
    assert_eq!(out, 2, "half of four");
    assert_eq!(case.picks(0, 0), HashSet::from([2, 3]));
    let many = OutlierDetection {
        max_ejected_percent: 100,
        ..policy()
    };
    let mut case = Case::new(4, many);
    for index in 0..4 {
        for _ in 0..20 {
            case.judge(0, index, AttemptOutcome::Error, 0);
        }
        let expected = match index {
            0 => HashSet::from([1, 2, 3]),
            1 => HashSet::from([2, 3]),
            _ => HashSet::from([0, 1, 2, 3]),
        };
        assert_eq!(case.picks(1, 0), expected, "{index}");
    }
    let [(_, outliers)] = &case.workers[0].endpoints().registry().all()[..] else {
        panic!("one backend");
    };
    assert_eq!((outliers.out(), outliers.panic_picks()), (3, 200));
}

#[test]
fn without_panic_what_is_out_is_not_picked_at_all() {
    let strict = OutlierDetection {
        panic_threshold: 0,
        max_ejected_percent: 100,
        errors_5xx: 1,
        ..policy()
    };
    let mut case = Case::new(3, strict);
    for index in 0..3 {
        case.judge(0, index, AttemptOutcome::Error, 0);
    }
    assert_eq!(case.picks(1, 0), HashSet::from([2]), "never all");
    // The one that is left goes: then those that are out are all there is.
    case.backend = changed(&case.backend, |backend| backend.endpoints.truncate(2));
    assert_eq!(case.picks(1, 0), HashSet::from([0, 1]));
}

#[test]
fn failed_connects_count_by_the_policy_where_it_says_so() {
    let of = |count| OutlierDetection {
        local_origin_failures: count,
        ..policy()
    };
    let outcome = AttemptOutcome::ConnectFailed;
    for (count, by_default) in [(None, true), (Some(0), false), (Some(2), false)] {
        let mut case = Case::new(2, of(count));
        let (now, backend) = (case.start, Arc::clone(&case.backend));
        let change = observe(
            &mut case.workers[0],
            (&backend, 0),
            outcome,
            seconds(0),
            now,
        );
        assert_eq!(change.is_some(), by_default, "{count:?}");
        case.judge(0, 0, outcome, 0);
        let again = case.judge(0, 0, outcome, 0);
        assert_eq!(again.len(), usize::from(count == Some(2)), "{count:?}");
        let is_in = case.picks(0, 0).contains(&0);
        assert_eq!(is_in, count == Some(0), "{count:?}");
    }
}

#[test]
fn shares_are_looked_at_once_an_interval() {
    let shares = OutlierDetection {
        errors_5xx: 0,
        interval: seconds(10),
        failure_percentage: Some(FailurePercentage {
            threshold: 50,
            minimum_hosts: 3,
            request_volume: 10,
        }),
        ..policy()
    };
    let mut case = Case::new(3, shares);
    let spread = |case: &mut Case, after: u64| {
        let mut out = Vec::new();
        for turn in 0..20 {
            for index in 0..3 {
                let outcome = match index {
                    0 if turn % 2 == 0 => AttemptOutcome::Broken,
                    _ => AttemptOutcome::Answered,
                };
                out.extend(case.judge(turn % 2, index, outcome, after));
            }
        }
        out
    };
    assert_eq!(spread(&mut case, 1), [], "the interval is under way");
    let out = spread(&mut case, 12);
    assert_eq!((out.len(), out[0].index), (1, 0));
    assert_eq!(out[0].cause, Cause::FailurePercentage);
    assert_eq!(case.picks(1, 12), HashSet::from([1, 2]));
}

#[test]
fn what_fails_its_checks_is_left_out_until_it_passes() {
    let few = OutlierDetection {
        max_ejected_percent: 0,
        ..policy()
    };
    let mut case = Case::new(4, few);
    let endpoints = Arc::clone(case.workers[0].endpoints());
    let backend = Arc::clone(&case.backend);
    let marker = |index: usize| endpoints.marker(&backend, backend.endpoints[index].address);
    let markers: Vec<_> = (0..3).filter_map(marker).collect();
    markers[0].mark(true);
    assert_eq!(case.picks(0, 0), HashSet::from([1, 2, 3]));
    markers[1].mark(true);
    assert_eq!(
        case.picks(1, 0),
        HashSet::from([2, 3]),
        "no share bounds that"
    );
    let shown = endpoints.outliers(case.start);
    assert_eq!((shown.len(), shown[0].cause), (2, "health-check"));
    markers[2].mark(true);
    assert_eq!(
        case.picks(0, 0).len(),
        4,
        "so few are well that all are used"
    );
    markers[2].mark(false);
    assert_eq!(case.picks(0, 0), HashSet::from([2, 3]));
    drop(markers);
    assert_eq!(case.picks(1, 0).len(), 4, "nobody checks any more");
}
