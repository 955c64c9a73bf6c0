//! Checks of workloads' certificates, as their proxies report them.

use super::facts::{Facts, Proxy};
use super::finding::{Finding, Verdict};
use crate::render::time::until;
use crate::source::json::{list, text};

/// The share of its life after which a leaf should have been replaced: renewal begins at a third,
/// with a jitter of a tenth.
const LATE: f64 = 0.5;

pub(super) fn certificates(facts: &Facts) -> Verdict {
    let Ok(control) = &facts.control else {
        return Verdict::Blind;
    };
    let finding = |proxy: &Proxy| {
        let held = &proxy.certificates;
        let who = &proxy.workload;
        let (Some(begin), Some(end)) = (held["notBefore"].as_i64(), held["notAfter"].as_i64())
        else {
            return Some(Finding::fault(
                format!("{who} has no certificate"),
                "it cannot be told from others, and nothing reaches it through the mesh",
                format!("see its sidecar's log: meshctl logs {who} --source proxy"),
            ));
        };
        if end <= facts.now {
            return Some(Finding::fault(
                format!("the certificate of {who} ended {}", until(end, facts.now)),
                "it was not renewed: the control plane was away, or refused it",
                format!(
                    "meshctl logs {who} --source proxy says why; start it again with a fresh join token"
                ),
            ));
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "lives are far below 2^52 seconds"
        )]
        let used = (facts.now - begin) as f64 / (end - begin).max(1) as f64;
        (used > LATE).then(|| {
            Finding::warning(
                format!(
                    "the certificate of {who} ends {} and is not renewed yet",
                    until(end, facts.now)
                ),
                "renewal begins after a third of its life and was put off",
                format!("meshctl logs {who} --source proxy says why"),
            )
        })
    };
    Verdict::Looked(control.asked.iter().filter_map(finding).collect())
}

pub(super) fn roots(facts: &Facts) -> Verdict {
    let (Ok(control), Some(own)) = (&facts.control, &facts.authority.root) else {
        return Verdict::Blind;
    };
    let trusts = |proxy: &&Proxy| {
        let roots = list(&proxy.certificates, "roots");
        roots.is_empty() || roots.iter().any(|root| text(root, "sha256") == own.sha256)
    };
    let strangers = control.asked.iter().filter(|proxy| !trusts(proxy));
    let finding = |proxy: &Proxy| {
        Finding::fault(
            format!("{} does not trust the root in use", proxy.workload),
            "it refuses every peer with a new certificate",
            "add both roots to control/roots and wait until every proxy is SYNCED before the old one goes",
        )
    };
    Verdict::Looked(strangers.map(finding).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::finding::Severity;
    use super::super::report::tests::{good, severities};
    use super::*;

    #[test]
    fn leaves_are_renewed_in_time_and_trust_the_root() {
        let now = good().now;
        let with = |held: Value| {
            let mut facts = good();
            if let Ok(control) = &mut facts.control {
                control.asked[0].certificates = held;
            }
            (
                severities(&certificates(&facts)),
                severities(&roots(&facts)),
            )
        };
        let leaf = |begin: i64, end: i64| json!({"notBefore": now + begin, "notAfter": now + end});
        assert_eq!(with(leaf(-10, 90)).0, []);
        assert_eq!(with(leaf(-60, 40)).0, [Severity::Warning]);
        assert_eq!(with(leaf(-60, -1)).0, [Severity::Fault]);
        assert_eq!(with(Value::Null).0, [Severity::Fault]);
        assert_eq!(
            with(json!({"roots": [{"sha256": "other"}]})).1,
            [Severity::Fault]
        );
        assert_eq!(with(json!({"roots": [{"sha256": "root"}]})).1, []);
    }
}
