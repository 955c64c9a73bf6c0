//! Fenced blocks of pages: what each may say of itself, and which commands no test runs.
//!
//! The tests that read the YAML and run the commands are in `e2e`. May use `source` and `step`.

use super::Finding;
use crate::source;

/// The languages that say how a block is tested, with the flags that they may carry.
const TESTED: [(&str, &[&str]); 2] = [
    ("yaml", &["fragment", "invalid"]),
    ("sh", &["clone", "fails", "manual", "until"]),
];

/// Languages that are shown and not tested.
const SHOWN: [&str; 5] = ["text", "rust", "toml", "json", "ini"];

/// A block of commands that only readers type.
pub(crate) struct ByHand {
    /// The page.
    pub(crate) page: String,
    /// The line of its fence.
    pub(crate) line: usize,
    /// Why no test runs it.
    pub(crate) reason: String,
}

/// Refuses words after a fence that no test knows, and manual blocks without a reason.
pub(crate) fn check(page: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, info) in fences(text) {
        let (words, reason) = info.split_once(':').unwrap_or((info, ""));
        let mut words = words.split(',').map(str::trim);
        let language = words.next().unwrap_or_default();
        let flags: Vec<&str> = words.collect();
        let tested = TESTED.iter().find(|(name, _)| *name == language);
        if tested.is_none() && !SHOWN.contains(&language) {
            let message = format!(
                "say what the block is, not {language:?}: yaml, sh, or {}",
                SHOWN.join(", ")
            );
            findings.push(Finding::at(page, line, message));
        }
        let known = tested.map_or(&[] as &[&str], |(_, flags)| flags);
        for flag in flags.iter().filter(|flag| !known.contains(flag)) {
            findings.push(Finding::at(
                page,
                line,
                format!("no test knows the flag {flag:?}"),
            ));
        }
        if flags.contains(&"manual") && reason.trim().is_empty() {
            findings.push(Finding::at(
                page,
                line,
                "say why no test runs it: `sh,manual: needs root`",
            ));
        }
    }
    findings
}

/// The commands of the pages that no test runs.
pub(crate) fn by_hand(pages: &[String]) -> anyhow::Result<Vec<ByHand>> {
    let mut found = Vec::new();
    for page in pages {
        for (line, info) in fences(&source::read(page)?) {
            if let Some((words, reason)) = info.split_once(':')
                && words.split(',').any(|word| word.trim() == "manual")
            {
                found.push(ByHand {
                    page: page.clone(),
                    line,
                    reason: reason.trim().to_owned(),
                });
            }
        }
    }
    Ok(found)
}

/// The words after each opening fence, with its line.
fn fences(text: &str) -> Vec<(usize, &str)> {
    let lines = (1..).zip(text.lines());
    let marks = lines.filter_map(|(line, text)| Some((line, text.strip_prefix("```")?)));
    marks.step_by(2).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_says_what_it_is_in_words_that_tests_know() {
        let said = |info: &str| check("README.md", &format!("```{info}\nx\n```\n")).len();
        for good in [
            "yaml",
            "yaml,invalid",
            "sh,until",
            "sh,manual: needs root",
            "text",
            "rust",
        ] {
            assert_eq!(said(good), 0, "{good}");
        }
        for bad in [
            "",
            "bash",
            "yaml,until",
            "sh,manual",
            "sh,manual: ",
            "sh,sometimes",
        ] {
            assert_eq!(said(bad), 1, "{bad}");
        }
    }
}
