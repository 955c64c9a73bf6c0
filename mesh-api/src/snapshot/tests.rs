//! What the snapshot keeps, shares and refuses.

use super::*;
use crate::decide::tests::{destination, route, rule};

fn upsert(destination: Destination) -> Change {
    Change::Upsert(Box::new(Entry::Destination(destination)))
}

#[test]
fn a_change_of_endpoints_shares_all_the_rest() {
    let routes = vec![route("r", 1, vec![rule(&["expression /a.*"], &[(1, 1)])])];
    let first = destination(routes);
    let (one, refused) = Snapshot::default().apply(vec![upsert(first.clone())]);
    assert!(refused.is_empty());
    let mut second = first.clone();
    second.backends[1].endpoints.pop();
    let (two, _) = one.apply(vec![upsert(second.clone())]);
    let (old, new) = (
        one.destination(&first.name).unwrap(),
        two.destination(&first.name).unwrap(),
    );
    assert!(Arc::ptr_eq(&old.routing, &new.routing));
    assert!(Arc::ptr_eq(&old.backends[0], &new.backends[0]));
    assert!(!Arc::ptr_eq(&old.backends[1], &new.backends[1]));
    assert_eq!(
        (old.destination(), new.destination()),
        (first.clone(), second)
    );
    let mut third = first.clone();
    third.routes[0].created = 2;
    let (three, _) = two.apply(vec![upsert(third)]);
    assert!(!Arc::ptr_eq(
        &new.routing,
        &three.destination(&first.name).unwrap().routing
    ));
}

#[test]
fn bad_entries_keep_the_last_good() {
    let good = destination(Vec::new());
    let bad = destination(vec![route("r", 1, vec![rule(&["prefix /"], &[(9, 1)])])]);
    let (empty, refused) = Snapshot::default().apply(vec![upsert(bad.clone())]);
    assert_eq!(refused.len(), 1);
    let reason = "routes: demo/r rules[0].backends[0] names backend 9 of 3";
    assert_eq!(refused[0].faults[0].to_string(), reason);
    assert!(matches!(&empty.destinations[&good.name], Known::Failed(why) if why == reason));
    let (held, _) = empty.apply(vec![upsert(good.clone())]);
    let fail = Change::Fail(
        EntryName::Destination(good.name.clone()),
        "lacks a feature".into(),
    );
    let (kept, _) = held.apply(vec![upsert(bad), fail.clone()]);
    assert!(kept.destination(&good.name).is_some());
    assert!(
        kept.find_address("10.96.0.7".parse().unwrap(), 80)
            .is_some()
    );
    assert!(
        kept.find_address("10.96.0.7".parse().unwrap(), 81)
            .is_none()
    );
    let (gone, _) = kept.apply(vec![Change::Remove(EntryName::Destination(
        good.name.clone(),
    ))]);
    assert!(matches!(gone.destinations[&good.name], Known::Absent));
    assert!(
        gone.forget(&EntryName::Destination(good.name))
            .destinations
            .is_empty()
    );
}
