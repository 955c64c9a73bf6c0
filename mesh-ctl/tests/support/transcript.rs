//! Runs the commands of a transcript and compares.

use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;
use snapbox::{Assert, Data};

/// What differs between two runs beside a mesh, and the name put in its place.
const LIVE: [(&str, &str); 10] = [
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "[TIME]"),
    (r"127\.\d+\.\d+\.\d+:\d+", "[ADDRESS]"),
    (r"127\.\d+\.\d+\.\d+", "[IP]"),
    (r"(\w):\d{5}\b", "$1:[PORT]"),
    (r"mesh-join-1\.[0-9a-f]+\.[0-9a-f]+", "[TOKEN]"),
    (r"\b[0-9a-f]{30,64}\b", "[HASH]"),
    (r"\b\d+\.\d+ms\b", "[DURATION]"),
    (r"((SYNCED|STALE|NACKED) +)\d+[dhms]\w*", "$1[AGE]"),
    (r"\bin (\d+[dhms]){1,2}\b", "in [AGE]"),
    (r"\b0\.1\.0\b", "[BUILD]"),
];
/// What differs between two runs without a mesh.
const OFFLINE: [(&str, &str); 2] = [
    (r"\bin (\d+[dhms]){1,2}\b", "in [AGE]"),
    (r"\b0\.1\.0\b", "[BUILD]"),
];

/// Where commands run: a state folder, and the folder of the manifests.
pub(crate) struct Session {
    state: PathBuf,
    masks: Vec<(Regex, &'static str)>,
}

impl Session {
    /// Commands beside a running mesh in `state`.
    pub(crate) fn live(state: &Path) -> Self {
        Self::new(state, &LIVE)
    }

    /// Commands without a mesh; `state` is empty.
    pub(crate) fn offline(state: &Path) -> Self {
        Self::new(state, &OFFLINE)
    }

    fn new(state: &Path, masks: &[(&str, &'static str)]) -> Self {
        let mask = |(pattern, name): &(&str, &'static str)| (Regex::new(pattern).unwrap(), *name);
        Self {
            state: state.to_owned(),
            masks: masks.iter().map(mask).collect(),
        }
    }

    /// Runs every command of a transcript; what is printed must be what it says.
    pub(crate) fn check(&self, name: &str) {
        let path = tests().join("transcript").join(format!("{name}.txt"));
        let expected = std::fs::read_to_string(&path).unwrap();
        let commands = expected.lines().filter(|line| line.starts_with("$ "));
        let mut actual = String::new();
        for line in commands {
            actual.push_str(&self.run(line));
            actual.push('\n');
        }
        let expected = Data::read_from(&path, None).raw();
        Assert::new().action_env("SNAPSHOTS").eq(actual, expected);
    }

    /// The command, its output and its exit code, masked.
    fn run(&self, line: &str) -> String {
        let words = split(line.strip_prefix("$ meshctl").unwrap());
        let output = Command::new(env!("CARGO_BIN_EXE_meshctl"))
            .args(words)
            .current_dir(tests())
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .envs(std::env::var_os("XDG_RUNTIME_DIR").map(|path| ("XDG_RUNTIME_DIR", path)))
            .env("MESH_STATE", &self.state)
            .env("COLUMNS", "100")
            .env("LANG", "C.UTF-8")
            .output()
            .unwrap();
        let mut text = format!("{line}\n");
        text.push_str(&self.mask(&String::from_utf8_lossy(&output.stdout)));
        text.push_str(&self.mask(&String::from_utf8_lossy(&output.stderr)));
        if !output.status.success() {
            let code = output.status.code().unwrap();
            text.push_str(&["= ", &code.to_string(), "\n"].concat());
        }
        text
    }

    fn mask(&self, text: &str) -> String {
        let state = self.state.display().to_string();
        let text = text.replace(&state, "[STATE]");
        let mut masked = text.clone();
        for (pattern, name) in &self.masks {
            masked = pattern.replace_all(&masked, *name).into_owned();
        }
        if masked == text {
            return masked;
        }
        // Columns are as wide as what was masked: their gaps say nothing.
        let gap = Regex::new(r"(\S) {2,}").unwrap();
        gap.replace_all(&masked, "$1  ").into_owned()
    }
}

/// The folder of this file's crate that holds the transcripts.
pub(crate) fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// Words at blanks, but for what stands in single quotes.
fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, part) in line.split('\'').enumerate() {
        match index % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    words
}
