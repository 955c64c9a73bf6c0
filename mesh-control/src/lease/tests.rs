use super::*;

const LIFETIME: Duration = Duration::from_secs(10);

fn caller(account: &str) -> Identity {
    format!("spiffe://cluster.local/ns/demo/sa/{account}")
        .parse()
        .unwrap()
}

fn registration(name: &str) -> Registration {
    let request = wire::RegisterRequest {
        name: name.into(),
        address: "127.0.0.2".into(),
        tunnel_port: 15008,
        ..Default::default()
    };
    Registration::check(request, &caller("shop")).unwrap()
}

fn name(text: &str) -> ObjectName {
    format!("demo/{text}").parse().unwrap()
}

/// Every registration backs the one service.
fn service(_: &Registration) -> Vec<ObjectName> {
    vec![name("catalog")]
}

struct Clock(Instant);

impl Clock {
    fn at(&self, seconds: u64) -> Instant {
        self.0 + Duration::from_secs(seconds)
    }
}

fn four(clock: &Clock) -> Leases {
    let mut leases = Leases::new(LIFETIME);
    for each in ["a", "b", "c", "d"] {
        let changes = leases.register(registration(each), clock.at(0)).unwrap();
        assert_eq!(changes, [Change::Upsert(registration(each))]);
    }
    leases
}

#[test]
fn one_lapse_removes_and_a_refresh_changes_nothing() {
    let clock = Clock(Instant::now());
    let mut leases = four(&clock);
    for each in ["a", "b", "c"] {
        assert!(
            leases
                .register(registration(each), clock.at(5))
                .unwrap()
                .is_empty()
        );
    }
    assert!(leases.expire(clock.at(9), service).is_empty());
    assert_eq!(leases.next(clock.at(9)), clock.at(10));
    assert_eq!(
        leases.expire(clock.at(10), service),
        [Change::Delete(name("d"))]
    );
    assert_eq!(leases.published().count(), 3);
    let back = leases.register(registration("d"), clock.at(11)).unwrap();
    assert_eq!(back, [Change::Upsert(registration("d"))]);
}

#[test]
fn a_mass_lapse_keeps_everything_as_stale() {
    let clock = Clock(Instant::now());
    let mut leases = four(&clock);
    leases.register(registration("d"), clock.at(4)).unwrap();
    leases.register(registration("c"), clock.at(2)).unwrap();
    let half = leases.expire(clock.at(10), service);
    assert_eq!(half, [Change::Delete(name("a")), Change::Delete(name("b"))]);
    let mass = leases.expire(clock.at(12), service);
    assert_eq!(
        mass,
        [
            Change::Upsert(registration("a")),
            Change::SetStale(name("a"), true),
            Change::Upsert(registration("b")),
            Change::SetStale(name("b"), true),
            Change::SetStale(name("c"), true),
        ]
    );
    assert_eq!(leases.published().filter(|(_, stale)| *stale).count(), 3);

    let back = leases.register(registration("a"), clock.at(13)).unwrap();
    assert_eq!(back, [Change::SetStale(name("a"), false)]);
    leases.register(registration("b"), clock.at(13)).unwrap();
    leases.register(registration("d"), clock.at(13)).unwrap();
    let rest = leases.expire(clock.at(14), service);
    assert_eq!(rest, [Change::Delete(name("c"))], "no longer a mass lapse");
}

#[test]
fn what_backs_no_service_just_lapses() {
    let clock = Clock(Instant::now());
    let mut leases = four(&clock);
    let changes = leases.expire(clock.at(10), |_| Vec::new());
    assert_eq!(changes.len(), 4);
    assert!(leases.expire(clock.at(30), |_| Vec::new()).is_empty());
}

#[test]
fn a_stale_lease_ends_at_last() {
    let clock = Clock(Instant::now());
    let mut leases = four(&clock);
    assert_eq!(leases.expire(clock.at(10), service).len(), 4);
    assert_eq!(leases.published().count(), 4);
    assert_eq!(leases.expire(clock.at(4000), service).len(), 4);
    assert_eq!(leases.published().count(), 0);
}

#[test]
fn a_stale_name_still_belongs_to_its_account() {
    let clock = Clock(Instant::now());
    let mut leases = four(&clock);
    assert_eq!(leases.expire(clock.at(10), service).len(), 4);
    let mut other = registration("a");
    other.service_account = "thief".parse().unwrap();
    let refused = leases.register(other, clock.at(11));
    assert!(matches!(refused, Err(Refused::Held { .. })));
    let back = leases.register(registration("a"), clock.at(11));
    assert_eq!(back, Ok(vec![Change::SetStale(name("a"), false)]));
}

#[test]
fn names_belong_to_their_account() {
    let clock = Clock(Instant::now());
    let mut leases = four(&clock);
    let mut other = registration("a");
    other.service_account = "thief".parse().unwrap();
    let refused = leases.register(other.clone(), clock.at(1)).unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("registered by service account shop")
    );
    assert!(leases.deregister(&name("a"), &caller("thief")).is_empty());
    let ended = leases.deregister(&name("a"), &caller("shop"));
    assert_eq!(ended, [Change::Delete(name("a"))]);
    assert_eq!(
        leases.register(other.clone(), clock.at(1)).unwrap(),
        [Change::Upsert(other)]
    );
}

#[test]
fn leases_survive_a_restart_with_a_full_lifetime() {
    let clock = Clock(Instant::now());
    let state = tempfile::tempdir().unwrap();
    let files = LeaseFiles::open(state.path()).unwrap();
    files
        .store(&[
            Change::Upsert(registration("a")),
            Change::Upsert(registration("b")),
            Change::Delete(name("b")),
        ])
        .unwrap();
    std::fs::write(state.path().join("leases/bad.json"), "{").unwrap();
    let mut leases = Leases::new(LIFETIME);
    let changes = leases.restore(files.load().unwrap(), clock.at(100));
    assert_eq!(changes, [Change::Upsert(registration("a"))]);
    assert!(leases.expire(clock.at(109), service).is_empty());
}

#[test]
fn requests_are_checked_as_a_whole() {
    let request = wire::RegisterRequest {
        name: "A".into(),
        address: "localhost".into(),
        labels: vec![wire::Label {
            key: String::new(),
            value: "x".into(),
        }],
        ports: vec![wire::NamedPort {
            name: "http".into(),
            port: 0,
        }],
        tunnel_port: 70_000,
        weight: 10_001,
    };
    let faults = Registration::check(request, &caller("shop")).unwrap_err();
    let paths: Vec<_> = faults.iter().map(|fault| fault.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "name",
            "address",
            "labels[0]",
            "ports[0].port",
            "tunnel_port",
            "weight"
        ]
    );
}
