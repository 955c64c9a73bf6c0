//! What checks find.

use serde::Serialize;

/// What a check came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Findings; none: all is as it should be.
    Looked(Vec<Finding>),
    /// What it needs to know is not known.
    Blind,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Finding {
    /// How bad it is.
    pub(super) severity: Severity,
    /// What was found.
    pub(super) what: String,
    /// Why it is so, or what comes of it.
    pub(super) cause: String,
    /// What helps.
    pub(super) fix: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Severity {
    /// Worth a look.
    Warning,
    /// Broken, or about to be.
    Fault,
}

impl Finding {
    /// Worth a look.
    pub(super) fn warning(
        what: impl Into<String>,
        cause: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Warning, what, cause, fix)
    }

    /// Broken.
    pub(super) fn fault(
        what: impl Into<String>,
        cause: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Fault, what, cause, fix)
    }

    fn new(
        severity: Severity,
        what: impl Into<String>,
        cause: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            what: what.into(),
            cause: cause.into(),
            fix: fix.into(),
        }
    }
}
