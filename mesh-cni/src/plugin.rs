//! The plug-in itself: one call of the container runtime, by environment and standard input. May use
//! `question`.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use crate::question::{Answer, Question, SOCKET};

/// Versions of the protocol that are spoken.
const VERSIONS: [&str; 5] = ["0.3.1", "0.4.0", "1.0.0", "1.1.0", "0.3.0"];
/// Longest input read, in bytes.
const MAX_INPUT: u64 = 1024 * 1024;
/// Time for the node's process to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// What the protocol calls an input that does not read.
const BAD_INPUT: u32 = 6;

/// Answers the runtime's `command` (the value of `CNI_COMMAND`). Holds nothing up: where the node's process
/// does not answer, the pod starts, and its proxy waits for the rules.
pub fn run(command: &str) -> ExitCode {
    let mut input = String::new();
    let read = io::stdin().take(MAX_INPUT).read_to_string(&mut input);
    let parsed = read.map_err(|error| error.to_string()).and_then(|_| {
        let parsed = serde_json::from_str::<Value>(&input);
        parsed.map_err(|error| error.to_string())
    });
    let (said, code) = match (command, parsed) {
        ("VERSION", _) => (versions(), ExitCode::SUCCESS),
        ("ADD", Ok(input)) => {
            let environment = |name: &str| std::env::var(name).unwrap_or_default();
            capture(&environment("CNI_ARGS"), environment("CNI_NETNS"));
            (passed_on(&input), ExitCode::SUCCESS)
        }
        ("ADD", Err(error)) => (failure(&error), ExitCode::FAILURE),
        // The rules live and die with the pod's network.
        _ => return ExitCode::SUCCESS,
    };
    let written = io::stdout().write_all(format!("{said}\n").as_bytes());
    written.map_or(ExitCode::FAILURE, |()| code)
}

/// Asks for the rules, and says on standard error what came of it.
fn capture(arguments: &str, network: String) {
    let Some(question) = question(arguments, network) else {
        return;
    };
    let pod = format!("{}/{}", question.namespace, question.name);
    let said = match ask(&question) {
        Ok(Answer::Captured | Answer::NotOurs) => return,
        Ok(Answer::Failed(reason)) => reason,
        Err(error) => format!("{SOCKET}: {error}"),
    };
    let text = format!("mesh-cni: {pod} is not captured yet, and will not start before: {said}\n");
    // The runtime may not read it; the node's process logs the same.
    io::stderr().write_all(text.as_bytes()).unwrap_or_default();
}

/// What to ask, of a pod that may be meshed.
fn question(arguments: &str, network: String) -> Option<Question> {
    let find = |wanted: &str| {
        let pairs = arguments.split(';').filter_map(|pair| pair.split_once('='));
        let mut found = pairs.filter(|(name, _)| *name == wanted);
        found.next().map(|(_, value)| value.to_owned())
    };
    let namespace = find("K8S_POD_NAMESPACE")?;
    (!network.is_empty()).then_some(Question {
        name: find("K8S_POD_NAME")?,
        namespace,
        network,
    })
}

fn ask(question: &Question) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(SOCKET)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let text = serde_json::to_string(question).map_err(io::Error::other)?;
    stream.write_all(format!("{text}\n").as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream.take(MAX_INPUT)).read_line(&mut line)?;
    serde_json::from_str(&line).map_err(io::Error::other)
}

/// What the plug-ins before ours made, as the protocol asks of one in a chain.
fn passed_on(input: &Value) -> Value {
    let mut result = match input.get("prevResult") {
        Some(Value::Object(result)) => result.clone(),
        _ => serde_json::Map::new(),
    };
    let version = input.get("cniVersion").cloned();
    result.insert("cniVersion".to_owned(), version.unwrap_or(json!("1.0.0")));
    Value::Object(result)
}

fn versions() -> Value {
    json!({ "cniVersion": "1.0.0", "supportedVersions": VERSIONS })
}

fn failure(why: &str) -> Value {
    json!({ "cniVersion": "1.0.0", "code": BAD_INPUT, "msg": "mesh-cni: the input does not read", "details": why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pod_is_named_by_the_runtimes_arguments() {
        let arguments = "IgnoreUnknown=1;K8S_POD_NAMESPACE=demo;K8S_POD_NAME=web-0;K8S_POD_UID=1";
        let asked = question(arguments, "/run/netns/a".to_owned()).unwrap();
        assert_eq!(
            (asked.namespace.as_str(), asked.name.as_str()),
            ("demo", "web-0")
        );
        assert_eq!(question(arguments, String::new()), None);
        assert_eq!(
            question("K8S_POD_NAME=web-0", "/run/netns/a".to_owned()),
            None
        );
    }

    #[test]
    fn what_was_made_before_is_passed_on() {
        let input = json!({ "cniVersion": "0.4.0", "prevResult": { "ips": [{ "address": "10.1.2.3/24" }] } });
        let passed = passed_on(&input);
        assert_eq!(passed["ips"], input["prevResult"]["ips"]);
        assert_eq!(passed["cniVersion"], "0.4.0");
    }
}
