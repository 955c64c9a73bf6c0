//! Checks of the certificate authority, as it lies in the state folder.

use super::facts::{Certificate, Facts};
use super::finding::{Finding, Verdict};
use crate::render::time::{date, until};

const DAY: i64 = 86_400;
/// A root needs time: peers must trust its successor before it ends.
const ROOT_MARGIN: i64 = 90 * DAY;
/// The control plane replaces an intermediate from here on, when it starts.
const INTERMEDIATE_MARGIN: i64 = 30 * DAY;

pub(super) fn root(facts: &Facts) -> Verdict {
    let fix = "start a new trust root beside it (docs/concept/identity.md), and take this one away when every leaf is renewed";
    life(facts, facts.authority.root.as_ref(), ROOT_MARGIN, fix)
}

pub(super) fn intermediate(facts: &Facts) -> Verdict {
    let fix =
        "put control/root/root.key back and start the control plane again: it makes a new one";
    life(
        facts,
        facts.authority.intermediate.as_ref(),
        INTERMEDIATE_MARGIN,
        fix,
    )
}

pub(super) fn roots(facts: &Facts) -> Verdict {
    let authority = &facts.authority;
    let Some(own) = &authority.root else {
        return Verdict::Blind;
    };
    let mut findings = Vec::new();
    if !authority.roots.iter().any(|root| root.sha256 == own.sha256) {
        findings.push(Finding::fault(
            format!("{} is not among control/roots/*.pem", own.file),
            "proxies do not trust what the control plane signs now",
            format!(
                "copy {} into control/roots and start the control plane again",
                own.file
            ),
        ));
    }
    let ended = authority
        .roots
        .iter()
        .filter(|root| root.not_after <= facts.now);
    findings.extend(ended.map(|root| {
        Finding::warning(
            format!("{} ended {}", root.file, date(root.not_after)),
            "it is trusted for nothing any more",
            format!("remove {}", root.file),
        )
    }));
    Verdict::Looked(findings)
}

/// Checks that a certificate is in its time, and not near its end.
fn life(facts: &Facts, certificate: Option<&Certificate>, margin: i64, fix: &str) -> Verdict {
    let Some(one) = certificate else {
        return Verdict::Blind;
    };
    let (now, end) = (facts.now, one.not_after);
    let finding = if one.sha256.is_empty() {
        Finding::fault(format!("{} cannot be read", one.file), "it is damaged", fix)
    } else if end <= now {
        let what = format!("{} ended {} ({})", one.file, date(end), until(end, now));
        Finding::fault(
            what,
            "no certificate that it signed is valid, and no new one can be",
            fix,
        )
    } else if one.not_before > now {
        let what = format!(
            "{} begins {} ({})",
            one.file,
            date(one.not_before),
            until(one.not_before, now)
        );
        Finding::fault(
            what,
            "this machine's clock is behind",
            "synchronise the clock (NTP)",
        )
    } else if end - now <= margin {
        let what = format!("{} ends {} ({})", one.file, date(end), until(end, now));
        Finding::warning(what, "when it ends, no workload gets a certificate", fix)
    } else {
        return Verdict::Looked(Vec::new());
    };
    Verdict::Looked(vec![finding])
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::super::report::tests::{good, severities};
    use super::*;

    #[test]
    fn certificates_near_their_end_are_warned_of_and_ended_ones_fail() {
        let with = |from: i64, days: i64| {
            let mut facts = good();
            if let Some(root) = &mut facts.authority.root {
                root.not_before = facts.now + from;
                root.not_after = facts.now + days * DAY;
            }
            severities(&root(&facts))
        };
        assert_eq!(with(-1, 91), []);
        assert_eq!(with(-1, 89), [Severity::Warning]);
        assert_eq!(with(-1, 0), [Severity::Fault]);
        assert_eq!(with(60, 300), [Severity::Fault]);
    }

    #[test]
    fn the_root_in_use_must_be_trusted() {
        let mut facts = good();
        assert_eq!(severities(&roots(&facts)), []);
        facts.authority.roots[0].not_after = facts.now - 1;
        facts.authority.roots[0].sha256 = "other".into();
        assert_eq!(
            severities(&roots(&facts)),
            [Severity::Fault, Severity::Warning]
        );
    }
}
