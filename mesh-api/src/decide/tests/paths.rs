//! Matches that are looked up by their path decide as those that are tried one by one.

use std::fmt::Write as _;

use super::*;

/// A path of a few short segments, so that many meet.
fn path(random: &mut Seeded, segments: u64) -> String {
    let mut text = String::new();
    for _ in 0..random.below(segments + 1) {
        write!(text, "/{}", random.below(3)).unwrap();
    }
    text
}

fn any_match(random: &mut Seeded) -> String {
    let path = path(random, 4);
    let mut text = match random.below(8) {
        0..3 => format!("exact /{}", path.trim_start_matches('/')),
        3..7 => format!("prefix {path}/"),
        _ => format!("expression {path}/.*"),
    };
    if random.below(3) == 0 {
        text.push_str(", method GET");
    }
    text
}

/// The same winner, by its place, whether the path is looked up or each match is tried.
fn agree(table: &DestinationTable, line: &str) {
    with_request(line, &[], |request, _| {
        let looked_up = route::find(&table.routing, request, &mut Silent);
        let tried = route::find(&table.routing, request, &mut Trace::default());
        assert_eq!(
            looked_up.map(std::ptr::from_ref),
            tried.map(std::ptr::from_ref),
            "{line}"
        );
    });
}

#[test]
fn a_look_up_finds_what_trying_finds() {
    let mut random = Seeded(7);
    for count in [1, 16, 17, 60, 300] {
        let matches: Vec<String> = (0..count).map(|_| any_match(&mut random)).collect();
        let rules = matches.iter().map(|text| rule(&[text], &[(0, 1)]));
        let table = table(vec![route("r", 1, rules.collect())]);
        for _ in 0..400 {
            let method = if random.below(2) == 0 { "GET" } else { "PUT" };
            agree(
                &table,
                &format!("{method} /{}", path(&mut random, 6).trim_start_matches('/')),
            );
        }
    }
}

#[test]
fn a_path_of_many_segments_is_tried_where_it_meets_many_prefixes() {
    let mut deep = String::new();
    let mut matches = Vec::new();
    for _ in 0..40 {
        deep.push_str("/a");
        matches.push(format!("prefix {deep}, method PUT"));
    }
    let rules = matches.iter().map(|text| rule(&[text], &[(0, 1)]));
    let table = table(vec![route("r", 1, rules.collect())]);
    for line in [
        format!("PUT {deep}"),
        format!("GET {deep}"),
        "PUT /a/a/b".into(),
    ] {
        agree(&table, &line);
    }
}
