//! One case: a request, its caller, and what is expected of the decision.

use std::collections::BTreeMap;

use mesh_api::translate::Catalog;
use serde::Deserialize;

use crate::command::explain::{Asked, caller};
use crate::command::proxy_config::workload_name;
use crate::command::verdict::{Outcome, Verdict, decide, is_named, shown};

/// How far a share may be off, in percent: shares are written rounded.
const SLACK: f64 = 0.1;

/// A file of cases.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Suite {
    /// Its cases, in order.
    pub(super) cases: Vec<Case>,
}

/// A request and what is expected.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Case {
    /// What it shows; the request itself if there is no name.
    name: Option<String>,
    /// `[METHOD] URL`, as for `meshctl explain`.
    request: String,
    /// The caller, `namespace/workload`.
    from: String,
    /// Header fields.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// What is compared: only what is given.
    expect: Expect,
}

/// What is expected of a decision.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Expect {
    /// The route whose rule wins, `name` or `namespace/name`.
    route: Option<String>,
    /// The rule that wins, by its place or its name.
    rule: Option<Rule>,
    /// Every backend with its share in percent.
    backends: Option<BTreeMap<String, f64>>,
    /// The status that the mesh answers with.
    status: Option<u64>,
    /// The reason of a refusal.
    reason: Option<String>,
    /// Where a redirect leads.
    location: Option<String>,
    /// Path and query that go out.
    target: Option<String>,
    /// The Host that goes out.
    host: Option<String>,
    /// Header fields that go out; null: it does not.
    #[serde(default)]
    headers: BTreeMap<String, Option<String>>,
    /// The request timeout: `2s`, `none`.
    timeout: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Rule {
    Index(u64),
    Name(String),
}

impl Case {
    /// What it is called.
    pub(super) fn title(&self) -> String {
        self.name
            .clone()
            .unwrap_or_else(|| format!("{} from {}", self.request, self.from))
    }

    /// What is decided otherwise than expected, one a line.
    pub(super) fn differences(&self, catalog: &Catalog) -> anyhow::Result<Vec<String>> {
        let words: Vec<String> = self.request.split_whitespace().map(str::to_owned).collect();
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}"));
        let asked = Asked::parse(&words, &headers.collect::<Vec<_>>())?;
        let from = workload_name(&self.from)?;
        let verdict = decide(catalog, caller(catalog, &from), &asked)?;
        let mut found = self.expect.differences(&verdict);
        if !found.is_empty() {
            found.extend(
                verdict
                    .lines()
                    .iter()
                    .map(|line| format!("decided: {line}")),
            );
        }
        Ok(found)
    }
}

impl Expect {
    fn differences(&self, verdict: &Verdict) -> Vec<String> {
        let mut found = Vec::new();
        let mut compare = |what: &str, expected: Option<&str>, actual: Option<&str>| {
            if expected.is_some() && expected != actual {
                found.push(format!(
                    "{what}: expected {}, is {}",
                    shown(expected),
                    shown(actual)
                ));
            }
        };
        let first = verdict.outcomes.first();
        let of = |field: fn(&Outcome) -> Option<&str>| first.and_then(field);
        compare(
            "reason",
            self.reason.as_deref(),
            of(|one| one.reason.as_deref()),
        );
        compare(
            "location",
            self.location.as_deref(),
            of(|one| one.location.as_deref()),
        );
        compare(
            "target",
            self.target.as_deref(),
            of(|one| one.target.as_deref()),
        );
        compare("host", self.host.as_deref(), of(|one| one.host.as_deref()));
        compare("timeout", self.timeout.as_deref(), of(timeout));
        for (name, expected) in &self.headers {
            let actual = first.and_then(|one| {
                let mut all = one
                    .fields
                    .iter()
                    .filter(|(own, _)| own.eq_ignore_ascii_case(name));
                all.next().map(|(_, value)| value.as_str())
            });
            if expected.as_deref() != actual {
                let expected = shown(expected.as_deref());
                found.push(format!(
                    "header {name}: expected {expected}, is {}",
                    shown(actual)
                ));
            }
        }
        found.extend(self.status_difference(first));
        found.extend(self.rule_differences(verdict));
        found.extend(self.backend_differences(&verdict.outcomes));
        found
    }

    fn status_difference(&self, first: Option<&Outcome>) -> Option<String> {
        let expected = self.status?;
        match first.and_then(|one| one.status) {
            Some(actual) if actual == expected => None,
            Some(actual) => Some(format!("status: expected {expected}, is {actual}")),
            None => Some(format!(
                "status: expected {expected}, but the request is forwarded"
            )),
        }
    }

    fn rule_differences(&self, verdict: &Verdict) -> Vec<String> {
        let mut found = Vec::new();
        if let Some(expected) = &self.route
            && !verdict
                .route
                .as_deref()
                .is_some_and(|route| is_named(route, expected))
        {
            let actual = shown(verdict.route.as_deref());
            found.push(format!("route: expected {expected:?}, is {actual}"));
        }
        let (index, name) = match &verdict.rule {
            Some((index, name)) => (Some(*index), name.as_deref()),
            None => (None, None),
        };
        let (is_so, expected) = match &self.rule {
            None => return found,
            Some(Rule::Index(expected)) => (index == Some(*expected), expected.to_string()),
            Some(Rule::Name(expected)) => {
                (name == Some(expected.as_str()), format!("{expected:?}"))
            }
        };
        if !is_so {
            let actual = index.map_or_else(|| "none".to_owned(), |index| index.to_string());
            found.push(format!(
                "rule: expected {expected}, is {actual} ({})",
                shown(name)
            ));
        }
        found
    }

    fn backend_differences(&self, outcomes: &[Outcome]) -> Vec<String> {
        let Some(expected) = &self.backends else {
            return Vec::new();
        };
        let share = |wanted: &str| {
            let of = |one: &&Outcome| {
                one.backend
                    .as_deref()
                    .is_some_and(|name| is_named(name, wanted))
            };
            outcomes
                .iter()
                .filter(of)
                .fold(0.0, |sum, one| sum + one.percent)
        };
        let mut found: Vec<String> = expected
            .iter()
            .filter(|(name, percent)| (share(name) - **percent).abs() > SLACK)
            .map(|(name, percent)| {
                format!("backend {name}: expected {percent}%, is {}%", share(name))
            })
            .collect();
        let others = outcomes.iter().filter_map(|one| one.backend.as_deref());
        let others = others.filter(|name| !expected.keys().any(|wanted| is_named(name, wanted)));
        found.extend(others.map(|name| format!("backend {name}: not expected")));
        found
    }
}

/// The request timeout in force.
fn timeout(outcome: &Outcome) -> Option<&str> {
    outcome
        .settings
        .iter()
        .find_map(|setting| setting.strip_prefix("requestTimeout "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_given_is_compared() {
        let outcome = Outcome {
            percent: 90.0,
            backend: Some("demo/a:80".into()),
            status: None,
            reason: None,
            location: None,
            target: Some("/x".into()),
            host: None,
            fields: vec![("x-a".into(), "1".into())],
            settings: vec!["requestTimeout 2s".into()],
        };
        let verdict = Verdict {
            route: Some("demo/r".into()),
            rule: Some((1, Some("beta".into()))),
            outcomes: vec![outcome],
        };
        let found = |yaml: &str| {
            let expect: Expect = serde_saphyr::from_str(yaml).unwrap();
            expect.differences(&verdict)
        };
        for good in [
            "{}",
            "{route: r, rule: 1, backends: {a: 90}, target: /x, timeout: 2s}",
            "{route: demo/r, rule: beta, backends: {'demo/a:80': 90}, headers: {X-A: '1', x-b: null}}",
        ] {
            assert_eq!(found(good), Vec::<String>::new(), "{good}");
        }
        for (bad, expected) in [
            ("{rule: 0}", "rule: expected 0, is 1 (\"beta\")"),
            (
                "{status: 302}",
                "status: expected 302, but the request is forwarded",
            ),
            ("{backends: {b: 10}}", "backend b: expected 10%, is 0%"),
            ("{backends: {a: 10}}", "backend a: expected 10%, is 90%"),
            ("{target: /y}", "target: expected \"/y\", is \"/x\""),
            (
                "{headers: {x-a: null}}",
                "header x-a: expected none, is \"1\"",
            ),
        ] {
            assert_eq!(
                found(bad).first().map(String::as_str),
                Some(expected),
                "{bad}"
            );
        }
        assert!(serde_saphyr::from_str::<Expect>("{rout: r}").is_err());
    }
}
