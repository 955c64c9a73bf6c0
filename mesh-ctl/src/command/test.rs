//! `meshctl test`: requests and the decisions expected on them, without a mesh.

mod case;

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::{Args, ValueHint};
use mesh_api::translate::Catalog;
use serde::Serialize;

use crate::render::symbol::Symbols;
use crate::render::{Output, Tone, count, lines, show};
use crate::source::files::Files;
use crate::source::state::StateArg;
use case::{Case, Suite};

/// Arguments of `meshctl test`.
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// Files of cases.
    #[arg(value_name = "CASES", required = true, value_hint = ValueHint::FilePath)]
    suites: Vec<PathBuf>,
    /// Manifests to decide by: files, or folders of them; repeatable [default: the demo's in the
    /// state folder].
    #[arg(short = 'f', long = "file", value_name = "PATH", value_hint = ValueHint::AnyPath)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// What one case came to.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    suite: String,
    case: String,
    passed: bool,
    /// What differs, one a line.
    differences: Vec<String>,
}

/// Prints each case; 1 if any decision is not the one expected.
pub(crate) fn run(test: &Test, state: &StateArg) -> anyhow::Result<u8> {
    let paths = match test.files.as_slice() {
        [] => vec![state.folder()?.manifests()],
        some => some.to_vec(),
    };
    let files = Files::read(&paths)?;
    let faults = files.all_faults();
    let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
    ensure!(
        texts.is_empty(),
        "the manifests have faults:\n{}",
        texts.join("\n")
    );
    let mut report = Vec::new();
    for path in &test.suites {
        for case in read(path)?.cases {
            report.push(Line::of(path, &case, &files.catalog));
        }
    }
    show(test.output, &report, || text(&report))?;
    Ok(u8::from(report.iter().any(|line| !line.passed)))
}

fn read(path: &Path) -> anyhow::Result<Suite> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    serde_saphyr::from_str(&text).with_context(|| format!("{shown} is no file of cases"))
}

fn text(report: &[Line]) -> String {
    let symbols = Symbols::of_locale();
    let mut all = Vec::new();
    for line in report {
        let sign = if line.passed {
            Tone::Good.paint(symbols.good())
        } else {
            Tone::Bad.paint(symbols.bad())
        };
        all.push(format!("{sign} {}", line.case));
        all.extend(line.differences.iter().map(|one| format!("    {one}")));
    }
    let failed = report.iter().filter(|line| !line.passed).count();
    all.push(format!("{}, {failed} failed", count(report.len(), "case")));
    lines(all)
}

impl Line {
    fn of(path: &Path, case: &Case, catalog: &Catalog) -> Self {
        let differences = match case.differences(catalog) {
            Ok(differences) => differences,
            Err(error) => vec![format!("{error:#}")],
        };
        Self {
            suite: path.display().to_string(),
            case: case.title(),
            passed: differences.is_empty(),
            differences,
        }
    }
}
