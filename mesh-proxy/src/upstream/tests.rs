mod outliers;

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::rc::Rc;

use mesh_api::model::backend::{Backend, Endpoint, Transport};
use mesh_api::model::policy::{BackendSettings, Budget};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

fn backend(count: u16) -> Arc<BackendTable> {
    let endpoint = |n| Endpoint {
        address: (Ipv4Addr::LOCALHOST, 1000 + n).into(),
        workload: None,
        transport: Transport::Plain,
        weight: 100,
        stale: false,
        locality: None,
    };
    Arc::new(BackendTable::from(Backend {
        name: "demo/shop:80".parse().unwrap(),
        protocol: mesh_api::model::destination::Protocol::Http,
        settings: BackendSettings::default(),
        endpoints: (0..count).map(endpoint).collect(),
    }))
}

/// Another version of a backend.
fn changed(from: &BackendTable, change: impl FnOnce(&mut Backend)) -> Arc<BackendTable> {
    let mut backend = from.backend.clone();
    change(&mut backend);
    Arc::new(backend.into())
}

/// Picks, by the worker's group of the backend.
fn pick(
    upstream: &mut Upstream,
    backend: &Arc<BackendTable>,
    tried: &[SocketAddr],
    now: Instant,
) -> Option<usize> {
    let group = upstream.group(backend);
    upstream.pick(&group, None, tried, now)
}

fn observe(
    upstream: &mut Upstream,
    (backend, index): (&Arc<BackendTable>, usize),
    outcome: AttemptOutcome,
    latency: Duration,
    now: Instant,
) -> Option<EjectionChange> {
    let group = upstream.group(backend);
    upstream.observe(&group, index, outcome, latency, now)
}

fn has_untried(
    upstream: &mut Upstream,
    backend: &Arc<BackendTable>,
    tried: &[SocketAddr],
    now: Instant,
) -> bool {
    let group = upstream.group(backend);
    upstream.has_untried(&group, tried, now)
}

fn upstream(start: Instant) -> Upstream {
    Upstream::new(Arc::new(Endpoints::new(start)), 1)
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn an_ejected_endpoint_is_left_out_until_its_time_or_a_success() {
    let start = Instant::now();
    let (mut upstream, backend) = (upstream(start), backend(2));
    let fail = |upstream: &mut Upstream, index, now| {
        let outcome = AttemptOutcome::ConnectFailed;
        observe(upstream, (&backend, index), outcome, seconds(0), now)
    };
    let picks = |upstream: &mut Upstream, now| -> HashSet<_> {
        (0..50)
            .filter_map(|_| pick(upstream, &backend, &[], now))
            .collect()
    };
    assert_eq!(picks(&mut upstream, start), HashSet::from([0, 1]));
    assert_eq!(
        fail(&mut upstream, 0, start),
        Some(EjectionChange::Ejected(seconds(1)))
    );
    assert_eq!(
        fail(&mut upstream, 0, start),
        None,
        "attempts that began together count once"
    );
    assert_eq!(fail(&mut upstream, 1, start), None, "at most half");
    assert_eq!(picks(&mut upstream, start), HashSet::from([1]));
    assert_eq!(
        upstream.endpoints().ejected(start),
        [backend.endpoints[0].address]
    );
    assert_eq!(
        picks(&mut upstream, start + seconds(2)),
        HashSet::from([0, 1])
    );
    let later = start + seconds(2);
    assert_eq!(
        fail(&mut upstream, 0, later),
        Some(EjectionChange::Ejected(seconds(2)))
    );
    let moment = Duration::from_millis(1);
    let outcome = AttemptOutcome::Answered;
    let answered = observe(&mut upstream, (&backend, 0), outcome, moment, later);
    assert_eq!(answered, Some(EjectionChange::Returned));
    assert_eq!(
        fail(&mut upstream, 0, later),
        Some(EjectionChange::Ejected(seconds(1)))
    );
}

#[test]
fn those_that_failed_beyond_the_ejected_half_come_last() {
    let start = Instant::now();
    let (mut upstream, backend) = (upstream(start), backend(4));
    let observe = |upstream: &mut Upstream, index, outcome| {
        observe(upstream, (&backend, index), outcome, seconds(0), start)
    };
    for index in 0..3 {
        observe(&mut upstream, index, AttemptOutcome::ConnectFailed);
    }
    assert_eq!(upstream.endpoints().ejected(start).len(), 2, "at most half");
    assert!((0..20).all(|_| pick(&mut upstream, &backend, &[], start) == Some(3)));
    let tried = [backend.endpoints[3].address];
    assert!(!has_untried(&mut upstream, &backend, &tried, start));
    // Still better than none.
    assert_eq!(pick(&mut upstream, &backend, &tried, start), Some(2));
    observe(&mut upstream, 2, AttemptOutcome::Answered);
    assert!(has_untried(&mut upstream, &backend, &tried, start));
}

#[test]
fn picks_avoid_the_tried_the_slow_and_the_stale() {
    let start = Instant::now();
    let (mut upstream, backend) = (upstream(start), backend(3));
    let address = |backend: &Backend, n: usize| backend.endpoints[n].address;
    let tried = [address(&backend, 0), address(&backend, 1)];
    assert!((0..20).all(|_| pick(&mut upstream, &backend, &tried, start) == Some(2)));
    let all = [tried[0], tried[1], address(&backend, 2)];
    assert_eq!(pick(&mut upstream, &backend, &all, start), None);
    // The slowest of three loses every pair it is in.
    for (index, millis) in [(0, 1), (1, 1), (2, 900)] {
        let latency = Duration::from_millis(millis);
        let outcome = AttemptOutcome::Answered;
        observe(&mut upstream, (&backend, index), outcome, latency, start);
    }
    assert!((0..50).all(|_| pick(&mut upstream, &backend, &[], start) != Some(2)));
    let later = start + seconds(120);
    for index in [0, 1] {
        let outcome = AttemptOutcome::Answered;
        let moment = Duration::from_millis(1);
        observe(&mut upstream, (&backend, index), outcome, moment, later);
    }
    let again = (0..50)
        .filter(|_| pick(&mut upstream, &backend, &[], later) == Some(2))
        .count();
    assert!(again > 0, "a slow endpoint is tried again after a while");
    // Another version of it: what is known of its endpoints stays.
    let backend = changed(&backend, |backend| {
        backend.endpoints[0].stale = true;
        backend.endpoints[1].stale = true;
    });
    assert!((0..20).all(|_| pick(&mut upstream, &backend, &[], start) == Some(2)));
    let fresh = [address(&backend, 2)];
    let picked = pick(&mut upstream, &backend, &fresh, start);
    assert!(picked.is_some_and(|index| index < 2));
}

#[test]
fn what_never_answered_is_tried_though_others_are_faster_than_is_assumed_of_it() {
    let start = Instant::now();
    let (mut upstream, backend) = (upstream(start), backend(2));
    let mut picked = |now| {
        let (outcome, latency) = (AttemptOutcome::Answered, Duration::from_micros(100));
        observe(&mut upstream, (&backend, 0), outcome, latency, now);
        pick(&mut upstream, &backend, &[], now)
    };
    assert!((0..20).all(|_| picked(start) == Some(0)));
    assert!((0..20).all(|_| picked(start + seconds(60)) == Some(1)));
}

#[test]
fn shared_counts_follow_guards_and_snapshots() {
    let start = Instant::now();
    let shared = Arc::new(Endpoints::new(start));
    let (mut one, mut two) = (
        Upstream::new(shared.clone(), 1),
        Upstream::new(shared.clone(), 2),
    );
    let backend = backend(1);
    let state = |upstream: &mut Upstream| {
        let group = upstream.group(&backend);
        upstream.state(&group, 0)
    };
    let guard = state(&mut one).begin();
    assert_eq!(state(&mut two).outstanding(), 1);
    drop(guard);
    assert_eq!(state(&mut two).outstanding(), 0);
    let before = state(&mut two);
    shared.retain(&HashSet::new());
    assert!(shared.is_empty());
    pick(&mut two, &backend, &[], start);
    assert!(!Arc::ptr_eq(&before, &state(&mut two)));
}

#[test]
fn a_retry_budget_is_a_share_of_recent_exchanges() {
    let start = Instant::now();
    let settings = Budget {
        percent: 20,
        min_per_second: 1,
        window: seconds(10),
    };
    let budget = RetryBudget::new(settings, start);
    let spend = |now| (0..1000).take_while(|_| budget.retry(now)).count();
    assert_eq!(spend(start), 10, "the floor");
    (0..200).for_each(|_| budget.exchange(start));
    assert_eq!(spend(start), 30, "a fifth of 200, less what was spent");
    assert_eq!(spend(start + seconds(9)), 0, "still in the window");
    assert_eq!(spend(start + seconds(10)), 10, "the window moved on");
}

struct Item(u32, bool);

impl IdleCheck for Item {
    fn is_usable(&mut self) -> bool {
        self.1
    }
}

#[test]
fn a_pool_hands_out_the_last_used_that_is_usable() {
    let now = Instant::now();
    let key = |port| PoolKey::plain((Ipv4Addr::LOCALHOST, port).into());
    let mut pool = Pool::new();
    for (number, usable) in [(1, true), (2, true), (3, false)] {
        pool.checkin(key(1), Item(number, usable), seconds(30), now);
    }
    assert!(pool.checkout(&key(2), now).is_none());
    assert_eq!(pool.checkout(&key(1), now).map(|item| item.0), Some(2));
    assert_eq!(pool.len(), 1);
    assert!(
        pool.checkout(&key(1), now + seconds(30)).is_none(),
        "over its time"
    );
    assert!(pool.is_empty());
    for number in 0..300 {
        pool.checkin(key(1), Item(number, true), seconds(30), now);
    }
    assert_eq!(pool.len(), 256);
    for port in 2..100 {
        for number in 0..100 {
            pool.checkin(key(port), Item(number, true), seconds(30), now);
        }
    }
    assert_eq!(pool.len(), 4096);
    pool.evict(now + seconds(30));
    assert!(pool.is_empty());
}

#[test]
fn plain_connections_are_dialled_and_watched_for_closure() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let mut endpoint = backend(1).endpoints[0].clone();
        endpoint.address = listener.local_addr().unwrap();
        let dialer = Dialer::new(Rc::default());
        let mut stream = dialer
            .dial(&endpoint, None, None, seconds(5))
            .await
            .unwrap();
        let (mut app, _) = listener.accept().await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        let mut text = [0; 5];
        app.read_exact(&mut text).await.unwrap();
        assert!(stream.is_usable());
        drop(app);
        while stream.is_usable() {
            tokio::task::yield_now().await;
        }
        drop(listener);
        let refused = dialer
            .dial(&endpoint, None, None, seconds(5))
            .await
            .unwrap_err();
        assert!(matches!(refused, ConnectError::Tcp { .. }));
        endpoint.transport = Transport::Hbone {
            identity: crate::identity::fixture::identity("demo", "shop"),
            port: 15008_u32.try_into().unwrap(),
        };
        let unnamed = dialer
            .dial(&endpoint, None, None, seconds(5))
            .await
            .unwrap_err();
        assert!(matches!(unnamed, ConnectError::NoIdentity));
    });
}

#[test]
fn ejection_is_not_heeded_where_nothing_else_is_left() {
    let start = Instant::now();
    let (mut upstream, two) = (upstream(start), backend(2));
    let outcome = AttemptOutcome::ConnectFailed;
    observe(&mut upstream, (&two, 0), outcome, seconds(0), start);
    let one = changed(&backend(2), |backend| backend.endpoints.truncate(1));
    assert_eq!(pick(&mut upstream, &two, &[], start), Some(1));
    assert_eq!(
        pick(&mut upstream, &one, &[], start),
        Some(0),
        "the other endpoint is gone"
    );
}

#[test]
fn addresses_outside_the_mesh_are_forgotten_and_what_is_in_use_is_not() {
    let endpoints = Endpoints::new(Instant::now());
    let address = |n: u32| SocketAddr::from((Ipv4Addr::from(n), 443));
    let busy = endpoints.state(address(0)).begin();
    for n in 1..40_000 {
        drop(endpoints.state(address(n)).begin());
        assert!(endpoints.len() <= 16_384, "{n}");
    }
    assert_eq!(endpoints.state(address(0)).outstanding(), 1);
    drop(busy);
    assert_eq!(endpoints.state(address(0)).outstanding(), 0);
}

/// A snapshot with one destination that has this backend.
fn snapshot(backend: &BackendTable) -> mesh_api::snapshot::Snapshot {
    use mesh_api::model::destination::Destination;
    use mesh_api::model::entry::Entry;
    use mesh_api::snapshot::{Change, Snapshot};

    let destination = Destination {
        name: backend.name.clone(),
        consumer: "demo".parse().unwrap(),
        protocol: backend.protocol,
        addresses: Vec::new(),
        routes: Vec::new(),
        connection_routes: Vec::new(),
        backends: vec![backend.backend.clone()],
        timeouts: mesh_api::model::policy::ExchangeTimeouts::default(),
        retry: mesh_api::model::origin::Sourced::default(),
        faults: Vec::new(),
        own_faults: None,
        stickiness: None,
    };
    let change = Change::Upsert(Box::new(Entry::Destination(destination)));
    Snapshot::default().apply(vec![change]).0
}

#[test]
fn what_appears_beside_others_is_new_for_a_while() {
    let start = Instant::now();
    let mut upstream = upstream(start);
    let slow = |backend: &mut Backend| {
        backend.settings.slow_start.value = Some(seconds(30));
        backend.settings.algorithm.value = mesh_api::model::policy::Algorithm::Random;
    };
    let mut newcomers = Newcomers::default();
    let two = changed(&backend(2), slow);
    assert!(newcomers.arrived(&snapshot(&two)).is_empty(), "all are new");
    let three = changed(&backend(3), slow);
    let arrived = newcomers.arrived(&snapshot(&three));
    let new = three.endpoints[2].address;
    assert_eq!(arrived, [(three.name.clone(), new)]);
    assert!(newcomers.arrived(&snapshot(&three)).is_empty());
    let began = start + seconds(5);
    upstream.endpoints().mark_new(new, began);
    let of_new = |upstream: &mut Upstream, after| {
        let picks = (0..3000).filter_map(|_| pick(upstream, &three, &[], began + after));
        picks.filter(|index| *index == 2).count()
    };
    // A tenth of a weight beside two: 1 of 21; half way 55 of 255; then a third.
    let (first, half) = (
        of_new(&mut upstream, seconds(0)),
        of_new(&mut upstream, seconds(15)),
    );
    assert!((80..210).contains(&first), "{first}");
    assert!((530..770).contains(&half), "{half}");
    let full = of_new(&mut upstream, seconds(30));
    assert!((870..1130).contains(&full), "{full}");
    // What fails and answers again is new again.
    let later = began + seconds(60);
    let answers = [AttemptOutcome::ConnectFailed, AttemptOutcome::Answered];
    for outcome in answers {
        observe(&mut upstream, (&three, 2), outcome, seconds(0), later);
    }
    let again = of_new(&mut upstream, seconds(60));
    assert!((80..210).contains(&again), "{again}");
    // All at once: none is less than another.
    let others = changed(&three, |backend| {
        for endpoint in &mut backend.endpoints {
            endpoint.address.set_port(endpoint.address.port() + 100);
        }
    });
    assert!(newcomers.arrived(&snapshot(&others)).is_empty());
}

#[test]
fn the_own_zone_is_picked_while_it_is_well() {
    use mesh_api::model::locality::{Locality, LocalityPreference};

    let start = Instant::now();
    let mut upstream = upstream(start);
    let place = |zone: &str| Locality {
        region: "eu-1".to_owned(),
        zone: zone.to_owned(),
    };
    let backend = changed(&backend(3), |backend| {
        for (endpoint, zone) in backend.endpoints.iter_mut().zip(["a", "b", "b"]) {
            endpoint.locality = Some(place(zone));
        }
        backend.settings.locality.value = Some(LocalityPreference {
            prefer_local: true,
            ..LocalityPreference::default()
        });
    });
    let picks = |upstream: &mut Upstream, after| -> HashSet<_> {
        let picks = (0..50).filter_map(|_| pick(upstream, &backend, &[], start + after));
        picks.collect()
    };
    let (now, later) = (seconds(0), seconds(2));
    let all = HashSet::from([0, 1, 2]);
    assert_eq!(picks(&mut upstream, now), all, "nobody knows from where");
    upstream.endpoints().locate(Some(place("a")));
    assert_eq!(picks(&mut upstream, now), HashSet::from([0]));
    let outcome = AttemptOutcome::ConnectFailed;
    observe(&mut upstream, (&backend, 0), outcome, seconds(0), start);
    assert_eq!(picks(&mut upstream, now), HashSet::from([1, 2]), "at once");
    assert_eq!(picks(&mut upstream, later), HashSet::from([0]));
    let near = upstream.endpoints().near();
    let near: Vec<_> = near.map(|(near, count)| (near.as_str(), count)).collect();
    assert_eq!(
        near,
        [("zone", 100), ("region", 50), ("failover", 0), ("other", 0)]
    );
}
