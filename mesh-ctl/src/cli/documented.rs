//! The page of commands is true: each command takes each of its flags, with each of its values.

use std::collections::BTreeMap;

use clap::error::ErrorKind;

use super::*;

const PAGE: &str = include_str!("../../../docs/reference/cli.md");
const HASH: &str = "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a";
/// Commands that look at a cluster, each with what it cannot do without.
const COMMANDS: [(&str, &[&str]); 12] = [
    ("install", &[]),
    ("upgrade", &[]),
    ("uninstall", &[]),
    ("demo", &["--kubernetes"]),
    ("get", &[]),
    ("inject", &["--filename", "a.yaml", "--root-hash", HASH]),
    ("proxy-status", &[]),
    ("proxy-config", &["all", "demo/shop"]),
    ("check", &[]),
    ("logs", &["shop"]),
    ("explain", &["http://catalog/", "--from", "demo/shop"]),
    ("validate", &["a.yaml"]),
];
/// What a flag cannot be given with, or without.
const INSTEAD: [(&str, &str, &[&str]); 2] = [
    ("demo", "--only", &["--check"]),
    ("proxy-config", "--file", &["all"]),
];
/// A value by the name that the page gives it.
const SAMPLES: [(&str, &str); 23] = [
    ("ACCOUNT", "demo/viewer"),
    ("CATEGORY", "proxies"),
    ("DIR", "out"),
    ("DURATION", "1m30s"),
    ("FILE", "a.yaml"),
    ("HASH", HASH),
    ("HOST:PORT", "mesh-control.mesh-system.svc:15012"),
    ("IMAGE", "mesh.dev/mesh-proxy:1"),
    ("KEY=VALUE", "control.replicas=3"),
    ("LABELS", "app=shop,!old"),
    ("LINES", "20"),
    ("METHOD", "GET"),
    ("NAME", "demo/catalog"),
    ("NAME: VALUE", "x-user: beta"),
    ("NAMESPACE", "shop"),
    ("NS", "demo"),
    ("PATH", "manifests"),
    ("PATTERN", "/items/*"),
    ("PORT", "80"),
    ("SERVICE", "demo/catalog:80"),
    ("STATUS", "503,5xx"),
    ("TEXT", "gRPC"),
    ("WORKLOAD", "demo/shop"),
];

/// One row of a table of arguments.
#[derive(Debug)]
struct Flag {
    /// `-o` and `--output`.
    forms: Vec<String>,
    /// What it is given; none of a switch.
    values: Vec<String>,
    /// True where the value must come after `=`.
    needs_equals: bool,
}

#[test]
fn every_documented_flag_is_accepted_with_every_value() {
    let mut lines = 0;
    let common = flags("Options of every command");
    assert!(common.len() >= 6, "{common:?}");
    for (command, base) in COMMANDS {
        let own = flags(command);
        assert!(!own.is_empty(), "{command} has no flags in the page");
        for flag in own.iter().chain(&common) {
            for form in &flag.forms {
                for line in flag.lines(command, base, form) {
                    let parsed = Cli::try_parse_from(&line);
                    assert!(parsed.is_ok(), "{line:?}: {}", parsed.unwrap_err());
                    lines += 1;
                }
            }
        }
    }
    assert!(lines > 250, "only {lines} lines: the page is not read");
}

#[test]
fn json_and_yaml_are_forms_of_every_command() {
    for (command, base) in COMMANDS {
        // A line of a log is a value of its own: no document holds them all.
        let formats: &[&str] = if command == "logs" {
            &["json"]
        } else {
            &["json", "yaml"]
        };
        for format in formats {
            let line = [&["meshctl", command][..], base, &["-o", format]].concat();
            assert!(Cli::try_parse_from(&line).is_ok(), "{line:?}");
        }
        let line = [&["meshctl", command][..], base, &["-o", "xml"]].concat();
        let refused = Cli::try_parse_from(&line).unwrap_err();
        let said = refused.to_string();
        assert_eq!(refused.exit_code(), 2, "{line:?}");
        assert!(
            said.contains("possible values") && said.contains("json"),
            "{said}"
        );
    }
}

#[test]
fn what_is_misspelt_is_named_with_what_was_meant() {
    let mut suggested = 0;
    let mut all = 0;
    for (command, base) in COMMANDS {
        for flag in flags(command) {
            let long = flag.forms.iter().find(|form| form.starts_with("--"));
            let Some(long) = long else { continue };
            let misspelt = format!("{long}x");
            let line = [&["meshctl", command][..], base, &[&misspelt]].concat();
            let refused = Cli::try_parse_from(&line).unwrap_err();
            let said = refused.to_string();
            assert_eq!(refused.kind(), ErrorKind::UnknownArgument, "{line:?}");
            assert_eq!(refused.exit_code(), 2, "{line:?}");
            assert!(said.contains(&misspelt), "{said}");
            all += 1;
            suggested += usize::from(said.contains(&format!("'{long}")));
        }
    }
    assert!(all > 50, "only {all} flags: the page is not read");
    assert_eq!(suggested, all, "flags that are suggested");
}

/// The flags of a section of the page.
fn flags(section: &str) -> Vec<Flag> {
    let heading = format!("## {section}");
    let lines = PAGE.lines().skip_while(|line| *line != heading).skip(1);
    let own = lines.take_while(|line| !line.starts_with("## "));
    let rows = own.filter_map(|line| line.strip_prefix("| `-"));
    rows.map(|row| Flag::read(&format!("-{row}"))).collect()
}

impl Flag {
    /// Of a row such as ``-o, --output <FORMAT>` | How to print; one of table, json; ...``.
    fn read(row: &str) -> Self {
        let (code, what) = row.split_once("` |").unwrap();
        let samples: BTreeMap<&str, &str> = SAMPLES.into();
        let (names, value) = match code.split_once('<') {
            Some((names, value)) => (names, value.split_once('>').map(|(value, _)| value)),
            None => (code, None),
        };
        let needs_equals = names.ends_with("[=");
        let names = names.trim_end_matches("[=").trim();
        let listed = what.split_once("one of ").map(|(_, rest)| {
            let listed = rest.split([';', '|']).next();
            listed.unwrap_or_default().trim().to_owned()
        });
        let values = match (value, listed) {
            (None, _) => Vec::new(),
            (_, Some(listed)) => listed.split(", ").map(ToOwned::to_owned).collect(),
            (Some(value), None) => {
                let sample = samples.get(value);
                vec![(*sample.unwrap_or_else(|| panic!("no sample of {value}"))).to_owned()]
            }
        };
        Self {
            forms: names.split(", ").map(ToOwned::to_owned).collect(),
            values,
            needs_equals,
        }
    }

    /// Command lines that give it in this form.
    fn lines(&self, command: &str, base: &[&str], form: &str) -> Vec<Vec<String>> {
        let long = self.forms.iter().find(|form| form.starts_with("--"));
        let instead = INSTEAD
            .iter()
            .find(|(of, flag, _)| *of == command && long.is_some_and(|long| long == flag));
        let base = instead.map_or(base, |(_, _, instead)| instead);
        // What the command cannot do without is on each line already.
        let is_repeatable = command == "inject";
        if !is_repeatable && long.is_some_and(|long| base.contains(&long.as_str())) {
            return Vec::new();
        }
        let given = match self.values.as_slice() {
            [] => vec![vec![form.to_owned()]],
            values if self.needs_equals => {
                let with = values.iter().map(|value| vec![format!("{form}={value}")]);
                with.chain([vec![form.to_owned()]]).collect()
            }
            values => {
                let with = values.iter();
                with.map(|value| vec![form.to_owned(), value.clone()])
                    .collect()
            }
        };
        let line = |given: Vec<String>| {
            let before = ["meshctl", command].into_iter().chain(base.iter().copied());
            before.map(ToOwned::to_owned).chain(given).collect()
        };
        given.into_iter().map(line).collect()
    }
}
