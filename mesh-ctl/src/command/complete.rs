//! Completion of names that only a running control plane knows. Where none answers in time there
//! is nothing to complete, and nothing is said.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::Shells;
use serde_json::Value;

use crate::command::get::kind;
use crate::source::admin::Admin;
use crate::source::json::{items, list, text};
use crate::source::state::StateFolder;

/// The longest wait for an answer: a person is waiting with a finger on the key.
const PATIENCE: Duration = Duration::from_millis(200);
/// The variable by which a shell's script asks this program for candidates.
const VARIABLE: &str = "COMPLETE";

/// A shell with a completion script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    /// GNU Bash.
    Bash,
    /// Z shell.
    Zsh,
    /// fish.
    Fish,
    /// Elvish.
    Elvish,
    /// Microsoft's.
    Powershell,
}

/// The script that teaches `shell` to ask this program.
pub(crate) fn script(shell: Shell) -> anyhow::Result<String> {
    let value = shell
        .to_possible_value()
        .context("every shell has a name")?;
    let shells = Shells::builtins();
    let shell = shells
        .completer(value.get_name())
        .with_context(|| format!("{} has no completion", value.get_name()))?;
    let mut script = Vec::new();
    shell.write_registration(VARIABLE, "meshctl", "meshctl", "meshctl", &mut script)?;
    Ok(String::from_utf8(script)?)
}

/// Workloads with a proxy, `namespace/name`.
pub(crate) fn workloads() -> ArgValueCandidates {
    candidates(|| names_in("/proxies", |row| vec![text(row, "workload").to_owned()]))
}

/// Namespaces that hold anything.
pub(crate) fn namespaces() -> ArgValueCandidates {
    candidates(|| {
        names_in("/resources", |row| match text(row, "kind") {
            "Namespace" => vec![text(row, "name").to_owned()],
            _ => vec![text(row, "namespace").to_owned()],
        })
    })
}

/// Services, `namespace/name`.
pub(crate) fn services() -> ArgValueCandidates {
    candidates(|| names_in("/services", |row| vec![full_name(row)]))
}

/// Services as a caller dials them, `name.namespace:port`, after `http://`.
pub(crate) fn requests() -> ArgValueCandidates {
    candidates(|| {
        names_in("/services", |row| {
            let host = format!("http://{}.{}", text(row, "name"), text(row, "namespace"));
            let ports = list(row, "ports").iter();
            ports
                .map(|port| format!("{host}:{}/", port["port"]))
                .collect()
        })
    })
}

/// What `meshctl get` lists.
pub(crate) fn kinds() -> ArgValueCandidates {
    candidates(|| kind::words().map(str::to_owned).collect())
}

/// Names of the objects of the kind that stands before on the command line.
pub(crate) fn names() -> ArgValueCandidates {
    candidates(|| {
        let words = words();
        let after_get = words.iter().skip_while(|word| *word != "get").skip(1);
        let Some(what) = after_get.into_iter().find(|word| !word.starts_with('-')) else {
            return BTreeSet::new();
        };
        let Ok(kinds) = kind::parse(what) else {
            return BTreeSet::new();
        };
        names_in("/resources", |row| {
            if kinds.takes(text(row, "kind")) {
                vec![full_name(row)]
            } else {
                Vec::new()
            }
        })
    })
}

fn candidates(find: impl Fn() -> BTreeSet<String> + Send + Sync + 'static) -> ArgValueCandidates {
    ArgValueCandidates::new(move || {
        let found = find().into_iter().filter(|name| !name.is_empty());
        found.map(CompletionCandidate::new).collect::<Vec<_>>()
    })
}

fn full_name(row: &Value) -> String {
    match text(row, "namespace") {
        "" => text(row, "name").to_owned(),
        namespace => format!("{namespace}/{}", text(row, "name")),
    }
}

/// Names among the rows that the control plane of the state folder answers with.
fn names_in(target: &str, name: impl Fn(&Value) -> Vec<String>) -> BTreeSet<String> {
    let answer = ask(target).unwrap_or_default();
    items(&answer).iter().flat_map(name).collect()
}

fn ask(target: &str) -> Option<Value> {
    let admin = Admin::of(&StateFolder::new(&state(&words())).ok()?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .ok()?;
    let asked = async { tokio::time::timeout(PATIENCE, admin.get(target)).await };
    tokio::task::LocalSet::new()
        .block_on(&runtime, asked)
        .ok()?
        .ok()
}

/// The command line being completed: what follows the first `--` of our own.
fn words() -> Vec<String> {
    let own = std::env::args_os().skip(1).skip_while(|word| word != "--");
    own.skip(1).map(|word| lossy(&word)).collect()
}

fn lossy(word: &OsStr) -> String {
    word.to_string_lossy().into_owned()
}

/// The state folder that the command line being completed names.
fn state(words: &[String]) -> PathBuf {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--state" {
            return words.next().map(PathBuf::from).unwrap_or_default();
        }
        if let Some(folder) = word.strip_prefix("--state=") {
            return folder.into();
        }
    }
    std::env::var_os("MESH_STATE").map_or_else(|| ".mesh".into(), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_folder_is_the_one_on_the_command_line() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(state(&words("meshctl --state /a get")), PathBuf::from("/a"));
        assert_eq!(state(&words("meshctl get --state=/b")), PathBuf::from("/b"));
    }

    #[test]
    fn every_shell_has_a_script_that_asks_this_program() {
        for shell in Shell::value_variants() {
            let script = script(*shell).unwrap();
            assert!(script.contains("meshctl"), "{shell:?}");
            assert!(script.contains(VARIABLE), "{shell:?}");
        }
    }
}
