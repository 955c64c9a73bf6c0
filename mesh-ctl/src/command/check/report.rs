//! What all checks came to, as text and as data.

use serde::Serialize;

use super::catalog::{ALL, BEFORE, Category, Entry, PAGE};
use super::facts::Facts;
use super::finding::{Finding, Severity, Verdict};
use crate::render::symbol::Symbols;
use crate::render::{Tone, count};

/// What all checks came to.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    faults: usize,
    warnings: usize,
    skipped: usize,
    checks: Vec<Line>,
}

/// What one check came to.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    check: &'static str,
    category: Category,
    result: Outcome,
    #[serde(skip)]
    good: &'static str,
    findings: Vec<Finding>,
    doc: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    Good,
    Warning,
    Fault,
    Skipped,
}

/// How much the text says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    /// Every check.
    All,
    /// What is not as it should be.
    Trouble,
}

/// What is looked at before an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    /// Whether the cluster can have a mesh.
    Installation,
    /// That, and what joining would break.
    Adoption,
}

impl Report {
    /// Makes every check of the categories in `only`, of all if there is none.
    pub(super) fn of(facts: &Facts, only: &[Category]) -> Self {
        Self::by(ALL, facts, only)
    }

    /// Makes the checks that come before an installation.
    pub(super) fn before(facts: &Facts, looks: Before, only: &[Category]) -> Self {
        let adoption = ALL
            .iter()
            .filter(|entry| looks == Before::Adoption && entry.category == Category::Adoption);
        Self::by(BEFORE.iter().chain(adoption), facts, only)
    }

    fn by<'a>(
        entries: impl IntoIterator<Item = &'a Entry>,
        facts: &Facts,
        only: &[Category],
    ) -> Self {
        let wanted = |entry: &&Entry| only.is_empty() || only.contains(&entry.category);
        let checks: Vec<Line> = entries
            .into_iter()
            .filter(wanted)
            .map(|entry| Line::of(entry, facts))
            .collect();
        let count = |severity: Severity| {
            let all = checks.iter().flat_map(|line| &line.findings);
            all.filter(|finding| finding.severity == severity).count()
        };
        Self {
            faults: count(Severity::Fault),
            warnings: count(Severity::Warning),
            skipped: checks
                .iter()
                .filter(|line| line.result == Outcome::Skipped)
                .count(),
            checks,
        }
    }

    /// True if it does not pass; `is_strict`: warnings count.
    pub(super) fn fails(&self, is_strict: bool) -> bool {
        self.faults > 0 || (is_strict && self.warnings > 0)
    }

    /// The text for people, in the signs of the locale.
    pub(super) fn text(&self, detail: Detail) -> String {
        self.text_with(detail, Symbols::of_locale())
    }

    fn text_with(&self, detail: Detail, symbols: Symbols) -> String {
        let mut text = String::new();
        let mut heading = None;
        for line in &self.checks {
            let is_quiet = matches!(line.result, Outcome::Good | Outcome::Skipped);
            if line.result == Outcome::Skipped || (is_quiet && detail == Detail::Trouble) {
                continue;
            }
            if heading != Some(line.category) {
                heading = Some(line.category);
                let title = line.category.title();
                let gap = if text.is_empty() { "" } else { "\n" };
                let line = "-".repeat(title.len());
                text.push_str(&[gap, title, "\n", &line, "\n"].concat());
            }
            text.push_str(&line.text(symbols));
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&self.summary(symbols));
        text
    }

    fn summary(&self, symbols: Symbols) -> String {
        let mut text = match (self.faults, self.warnings) {
            (0, 0) => format!("{} all is well\n", Tone::Good.paint(symbols.good())),
            (0, warnings) => format!(
                "{} {}\n",
                Tone::Warning.paint(symbols.warning()),
                count(warnings, "warning")
            ),
            (faults, warnings) => format!(
                "{} {}, {}\n",
                Tone::Bad.paint(symbols.bad()),
                count(faults, "fault"),
                count(warnings, "warning")
            ),
        };
        if self.skipped > 0 {
            text.push_str(&count(self.skipped, "check"));
            text.push_str(
                " not made: what they look at cannot be seen from here
",
            );
        }
        text
    }
}

impl Line {
    fn of(entry: &Entry, facts: &Facts) -> Self {
        let (result, findings) = match (entry.run)(facts) {
            Verdict::Blind => (Outcome::Skipped, Vec::new()),
            Verdict::Looked(findings) => {
                let is_fault = |finding: &Finding| finding.severity == Severity::Fault;
                let result = match findings.as_slice() {
                    [] => Outcome::Good,
                    some if some.iter().any(is_fault) => Outcome::Fault,
                    _ => Outcome::Warning,
                };
                (result, findings)
            }
        };
        Self {
            check: entry.name,
            category: entry.category,
            result,
            good: entry.good,
            findings,
            doc: format!("{PAGE}#{}", entry.name),
        }
    }

    fn text(&self, symbols: Symbols) -> String {
        if self.findings.is_empty() {
            return format!("{} {}\n", Tone::Good.paint(symbols.good()), self.good);
        }
        let finding = |finding: &Finding| {
            let sign = match finding.severity {
                Severity::Warning => Tone::Warning.paint(symbols.warning()),
                Severity::Fault => Tone::Bad.paint(symbols.bad()),
            };
            let Finding {
                what, cause, fix, ..
            } = finding;
            format!("{sign} {what}\n    cause: {cause}\n    fix:   {fix}\n")
        };
        let findings: String = self.findings.iter().map(finding).collect();
        format!("{findings}    see {}\n", self.doc)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::super::facts::{Authority, Certificate, Cluster, Control, Proxy, Run, State};
    use super::*;

    /// A mesh as it should be, at 2026-01-01.
    pub(in crate::command::check) fn good() -> Facts {
        let now = 1_767_225_600;
        let certificate = Certificate {
            file: "root.pem".into(),
            sha256: "root".into(),
            not_before: now - 10,
            not_after: now + 86_400 * 3_650,
        };
        let authority = Authority {
            root: Some(certificate.clone()),
            intermediate: Some(certificate.clone()),
            roots: vec![certificate],
        };
        let proxy = Proxy {
            workload: "a/b".into(),
            certificates: json!({"notBefore": now - 1, "notAfter": now + 9, "now": now, "roots": [{"sha256": "root"}]}),
            ready: json!({"ready": true}),
            listeners: vec![json!({"address": "127.0.0.1:80"})],
        };
        let run = Run {
            workload: "a/b".into(),
            supervisor: None,
            listeners: vec!["127.0.0.1:80".into()],
        };
        let mesh = json!({"outbound": {"unknownDestinations": "Deny"}});
        Facts {
            now,
            build: "1".into(),
            state: Some(State {
                exists: true,
                workloads: vec![run],
                ..State::default()
            }),
            authority,
            control: Ok(Control {
                build: "1".into(),
                clock: Some(now),
                proxies: vec![json!({"workload": "a/b", "state": "SYNCED", "build": "1"})],
                resources: vec![
                    json!({"kind": "Mesh", "name": "default", "object": {"spec": mesh}}),
                ],
                asked: vec![proxy],
                takes: Some(Ok(())),
                ..Control::default()
            }),
            cluster: Some(good_cluster()),
        }
    }

    /// A cluster as it should be.
    fn good_cluster() -> Cluster {
        let route = |kind: &str| {
            json!({
                "metadata": {"annotations": {"gateway.networking.k8s.io/bundle-version": "v1.6.1"}},
                "spec": {"group": "gateway.networking.k8s.io", "names": {"kind": kind}},
            })
        };
        Cluster {
            version: ("1".into(), "35".into()),
            missing_rights: Some(Vec::new()),
            definitions: [
                "HTTPRoute",
                "GRPCRoute",
                "TLSRoute",
                "TCPRoute",
                "ReferenceGrant",
            ]
            .map(route)
            .to_vec(),
            ..Cluster::default()
        }
    }

    /// How bad each finding is.
    pub(in crate::command::check) fn severities(verdict: &Verdict) -> Vec<Severity> {
        match verdict {
            Verdict::Looked(findings) => findings.iter().map(|finding| finding.severity).collect(),
            Verdict::Blind => unreachable!("the facts are there"),
        }
    }

    #[test]
    fn a_good_mesh_passes_every_check() {
        let before = Report::before(&good(), Before::Installation, &[]);
        let text = before.text_with(Detail::All, Symbols::Ascii);
        assert!(!before.fails(true), "{text}");
        assert_eq!(before.skipped, 0);
        let report = Report::of(&good(), &[]);
        let text = report.text_with(Detail::All, Symbols::Ascii);
        assert!(!report.fails(true), "{text}");
        assert_eq!(report.skipped, 0);
        assert_eq!(text.matches("ok\u{1b}[0m ").count(), ALL.len() + 1);
        assert_eq!(
            report.text_with(Detail::Trouble, Symbols::Unicode),
            "\u{1b}[32m√\u{1b}[0m all is well\n"
        );
    }

    #[test]
    fn a_fault_fails_and_a_warning_only_if_strict() {
        let mut facts = good();
        facts.build = "2".into();
        let report = Report::of(&facts, &[Category::ControlPlane]);
        assert!(!report.fails(false) && report.fails(true));
        facts.state.as_mut().unwrap().exists = false;
        let report = Report::of(&facts, &[]);
        assert!(report.fails(false));
        let text =
            anstream::adapter::strip_str(&report.text_with(Detail::Trouble, Symbols::Unicode))
                .to_string();
        assert!(
            text.starts_with("state folder\n------------\n×  does not exist\n    cause: "),
            "{text}"
        );
        assert!(
            text.contains("    see docs/reference/check.md#state-folder-exists\n"),
            "{text}"
        );
        assert!(text.ends_with("× 1 fault, 1 warning\n"), "{text}");
        assert_eq!(
            serde_json::to_value(&report).unwrap()["checks"][0]["result"],
            "fault"
        );
    }
}
