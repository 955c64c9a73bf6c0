//! Dependencies: each with a reason, from the crate registry, under a licence we allow.
//!
//! The reasons are the tables of `docs/dependencies.md`. May use `licence`, `source` and `step`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use serde::Deserialize;

use super::{Finding, licence};
use crate::source;
use crate::step::{self, cargo};

const PAGE: &str = "docs/dependencies.md";
const LOCK: &str = "Cargo.lock";

/// Crates that must not be built, each with its reason; `deny.toml` holds the same list.
pub(crate) const BANNED: &[(&str, &str)] = &[
    ("async-std", "one runtime: tokio"),
    ("native-tls", "one TLS stack: rustls"),
    ("openssl", "one TLS stack: rustls"),
    ("openssl-sys", "one TLS stack: rustls"),
    ("ring", "one crypto provider: aws-lc-rs"),
    ("serde_yaml", "abandoned; YAML is read by serde-saphyr"),
];

/// What must not reach mesh-api, which does no I/O.
const NOT_IN_API: [&str; 6] = ["tokio", "hyper", "tonic", "h2", "kube", "kube-client"];

/// Licences and direct dependencies, as `cargo metadata` tells them.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    source: Option<String>,
    path: Option<String>,
}

/// The lock file.
#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    source: Option<String>,
}

/// Refuses dependencies without a reason, banned ones, other sources, other licences, and I/O in
/// mesh-api.
pub(crate) fn check() -> anyhow::Result<Vec<Finding>> {
    let metadata = metadata()?;
    let lock: Lock = toml::from_str(&source::read(LOCK)?)?;
    let page = source::read(PAGE)?;
    let mut findings = check_lock(&lock);
    findings.extend(check_built(&built(&[
        "--workspace",
        "--edges",
        "normal,build,dev",
    ])?));
    findings.extend(check_licences(&metadata));
    let direct = direct(&metadata);
    findings.extend(check_reasons(&page, "## Direct dependencies", &direct));
    let twice = duplicates(&lock).into_keys().collect();
    findings.extend(check_reasons(&page, "## Duplicate versions", &twice));
    for name in tree("mesh-api")? {
        if NOT_IN_API.contains(&name.as_str()) {
            let message = format!("`{name}` reaches mesh-api, which does no I/O");
            findings.push(Finding::at("mesh-api/Cargo.toml", 0, message));
        }
    }
    Ok(findings)
}

/// The number of locked packages, our own included.
pub(crate) fn locked() -> anyhow::Result<usize> {
    let lock: Lock = toml::from_str(&source::read(LOCK)?)?;
    Ok(lock.package.len())
}

/// The names of what a crate is built from on this platform, itself included; one that comes in two
/// versions counts twice.
pub(crate) fn tree(package: &str) -> anyhow::Result<Vec<String>> {
    built(&["--edges", "normal", "--package", package])
}

/// What `cargo tree` names. Unlike the metadata and the lock file it leaves out optional crates that
/// nobody turned on.
fn built(selection: &[&str]) -> anyhow::Result<Vec<String>> {
    let text = step::output(cargo(["tree", "--locked", "--prefix", "none"]).args(selection))?;
    let packages: BTreeSet<Vec<&str>> = text
        .lines()
        .map(|line| line.split(' ').take(2).collect())
        .collect();
    let names = packages
        .into_iter()
        .filter_map(|words| words.first().copied());
    Ok(names.map(str::to_owned).collect())
}

fn metadata() -> anyhow::Result<Metadata> {
    let version = step::output(std::process::Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("rustc names no host")?;
    let what = [
        "metadata",
        "--format-version",
        "1",
        "--locked",
        "--filter-platform",
        host,
    ];
    Ok(serde_json::from_str(&step::output(&mut cargo(what))?)?)
}

/// One registry for all.
fn check_lock(lock: &Lock) -> Vec<Finding> {
    let mut findings = Vec::new();
    let sources: BTreeSet<&str> = lock
        .package
        .iter()
        .filter_map(|p| p.source.as_deref())
        .collect();
    for other in sources
        .iter()
        .filter(|source| !source.starts_with("registry+"))
    {
        findings.push(Finding::at(
            LOCK,
            0,
            format!("`{other}` is not the crate registry"),
        ));
    }
    if sources.len() > 1 {
        findings.push(Finding::at(LOCK, 0, "more than one source of crates"));
    }
    findings
}

/// None of the banned among what is built.
fn check_built(names: &[String]) -> Vec<Finding> {
    let banned = BANNED
        .iter()
        .filter(|(banned, _)| names.iter().any(|name| name == banned));
    banned
        .map(|(name, reason)| Finding::at(LOCK, 0, format!("`{name}` is banned: {reason}")))
        .collect()
}

fn check_licences(metadata: &Metadata) -> Vec<Finding> {
    let foreign = metadata
        .packages
        .iter()
        .filter(|package| package.source.is_some());
    let refused =
        foreign.filter(|package| !package.license.as_deref().is_some_and(licence::allows));
    refused
        .map(
            |Package {
                 name,
                 version,
                 license,
                 ..
             }| {
                let offered = license.as_deref().unwrap_or("none");
                Finding::at(
                    LOCK,
                    0,
                    format!("licence of {name} {version} is not allowed: {offered}"),
                )
            },
        )
        .collect()
}

/// What the members ask for, but not the members themselves.
fn direct(metadata: &Metadata) -> BTreeSet<String> {
    let members = metadata
        .packages
        .iter()
        .filter(|package| package.source.is_none());
    let asked = members.flat_map(|package| &package.dependencies);
    let foreign = asked.filter(|asked| asked.source.is_some() || asked.path.is_none());
    foreign.map(|asked| asked.name.clone()).collect()
}

/// Crates locked in several versions.
fn duplicates(lock: &Lock) -> BTreeMap<String, Vec<String>> {
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in &lock.package {
        versions
            .entry(package.name.clone())
            .or_default()
            .push(package.version.clone());
    }
    versions.retain(|_, versions| versions.len() > 1);
    versions
}

/// Each of `names` has one row with a reason under `heading`, and no row is of anything else.
fn check_reasons(page: &str, heading: &str, names: &BTreeSet<String>) -> Vec<Finding> {
    let section = page.split_once(heading).map_or("", |(_, rest)| rest);
    let section = section.split("\n## ").next().unwrap_or_default();
    let mut reasons: BTreeMap<&str, &str> = BTreeMap::new();
    let mut findings = Vec::new();
    for row in section.lines().filter_map(|line| line.strip_prefix("| `")) {
        let Some((name, rest)) = row.split_once('`') else {
            continue;
        };
        let reason = rest.trim().trim_matches('|').trim();
        if reasons.insert(name, reason).is_some() {
            findings.push(Finding::at(PAGE, 0, format!("two rows for `{name}`")));
        }
        if !names.contains(name) {
            findings.push(Finding::at(
                PAGE,
                0,
                format!("`{name}` is gone; drop its row"),
            ));
        }
    }
    for name in names {
        if reasons
            .get(name.as_str())
            .is_none_or(|reason| reason.is_empty())
        {
            let message = format!("`{name}` has no reason under \"{heading}\"");
            findings.push(Finding::at(PAGE, 0, message));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_dependency_has_one_reason() {
        let names = BTreeSet::from(["http".to_owned(), "serde".to_owned()]);
        let count = |page: &str| check_reasons(page, "## Direct", &names).len();
        assert_eq!(
            count("## Direct\n| `http` | types |\n| `serde` | data |\n"),
            0
        );
        assert_eq!(count("## Direct\n| `http` | types |\n| `serde` | |\n"), 1);
        assert_eq!(
            count("## Direct\n| `http` | types |\n## Other\n| `serde` | data |\n"),
            1
        );
        assert_eq!(
            count("## Direct\n| `http` | a |\n| `serde` | b |\n| `gone` | c |\n"),
            1
        );
    }

    #[test]
    fn crates_come_from_one_registry() {
        let package = |name: &str, source: &str| Locked {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            source: Some(source.to_owned()),
        };
        let count = |package: Vec<Locked>| check_lock(&Lock { package }).len();
        assert_eq!(count(vec![package("http", "registry+a")]), 0);
        assert_eq!(count(vec![package("http", "git+a")]), 1);
        assert_eq!(
            count(vec![
                package("http", "registry+a"),
                package("h2", "registry+b")
            ]),
            1
        );
    }

    #[test]
    fn banned_crates_and_licences_are_refused() {
        let metadata = |name: &str, license: &str| Metadata {
            packages: vec![Package {
                name: name.to_owned(),
                version: "1.0.0".to_owned(),
                license: Some(license.to_owned()),
                source: Some("registry+a".to_owned()),
                dependencies: Vec::new(),
            }],
        };
        assert_eq!(check_built(&["http".to_owned()]).len(), 0);
        assert_eq!(check_built(&["ring".to_owned()]).len(), 1);
        assert_eq!(check_licences(&metadata("http", "MIT")).len(), 0);
        assert_eq!(check_licences(&metadata("http", "GPL-3.0-only")).len(), 1);
    }
}
