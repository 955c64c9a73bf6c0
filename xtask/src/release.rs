//! An upgrade from the first release: its code, built from its tag, and this tree after it, under load.
//!
//! May use `step`, `image`, `cluster` and `test`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::cluster;
use crate::step;
use crate::test::cases;

/// What `cargo xtask prove` calls it.
pub(crate) const NAME: &str = "upgrade";
/// The first release.
const TAG: &str = "v0.1.0";
const CASE: &str = "cluster_loaded_upgrade_costs_no_request";

/// Upgrades in a cluster, and leaves the figure in `figures`.
pub(crate) fn prove(figures: &Path) -> anyhow::Result<()> {
    let programs = build(TAG)?;
    let proved = upgrade(&programs, figures);
    cluster::down()?;
    proved
}

fn upgrade(programs: &Path, figures: &Path) -> anyhow::Result<()> {
    cluster::up()?;
    cluster::load_all()?;
    cluster::load_older(programs)?;
    cluster::define(false)?;
    cluster::install()?;
    let mut case = cases(&["--tests", "--offline"]);
    case.args(["--include-ignored", "--nocapture", "--exact", CASE]);
    let mut case = cluster::enter(&case)?;
    step::run(case.env("MESH_FIGURES", figures))
}

/// The programs of a tag, as they were built for its images; where they are.
fn build(tag: &str) -> anyhow::Result<PathBuf> {
    let tree = step::target().join("tag").join(tag);
    let git = |words: &[&str]| {
        let mut command = Command::new("git");
        command.current_dir(step::root()).args(words);
        command
    };
    let commit = format!("{tag}^{{commit}}");
    let is_known = git(&["rev-parse", "--quiet", "--verify", &commit]).output();
    ensure!(
        is_known.is_ok_and(|said| said.status.success()),
        "this clone has no tag {tag}: git fetch --tags"
    );
    std::fs::create_dir_all(&tree).with_context(|| tree.display().to_string())?;
    let archive = tree.with_extension("tar");
    let path = archive.to_str().context("a path that is no text")?;
    step::run(&mut git(&["archive", "--output", path, tag]))?;
    let mut unpack = Command::new("tar");
    step::run(unpack.arg("-xf").arg(&archive).arg("-C").arg(&tree))?;
    // Its own build of images, of which only the programs are used here.
    let mut image = step::cargo(["xtask", "image"]);
    let target = tree.join("target");
    step::run(image.current_dir(&tree).env("CARGO_TARGET_DIR", &target))?;
    Ok(target.join("release"))
}
