//! The Helm chart, as `meshctl install --helm-chart` writes it, and the page of its values.

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::Generated;
use crate::step::{self, cargo};

/// The page that lies in the folder of the written chart and belongs to the documentation.
const PAGE: &str = "values.md";

/// Every file of `charts/mesh`, and `docs/reference/values.md`.
pub(super) fn files() -> anyhow::Result<Vec<Generated>> {
    let out = step::target().join("codegen").join("chart");
    if out.exists() {
        std::fs::remove_dir_all(&out)?;
    }
    step::output(
        cargo(["run", "--quiet", "--locked", "--package", "mesh-ctl", "--"])
            .args(["install", "--helm-chart"])
            .arg(&out),
    )?;
    let mut files = Vec::new();
    for path in within(&out)? {
        let name = path.strip_prefix(&out)?;
        let place = match name == Path::new(PAGE) {
            true => Path::new("docs/reference").join(PAGE),
            false => Path::new("charts/mesh").join(name),
        };
        files.push(Generated {
            text: std::fs::read_to_string(&path).with_context(|| path.display().to_string())?,
            path: place,
        });
    }
    Ok(files)
}

fn within(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(within(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}
