//! h2spec: the rules of HTTP/2 and of its header compression, one case per rule.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::backend::http;
use e2e::figure::{record, say};
use e2e::mesh::Mesh;
use e2e::process::output;
use e2e::{need, tool};

const MODULE: &str = "github.com/summerwind/h2spec/cmd/h2spec";
/// The newest first: the commit of 2.6.0, which its module's tags do not name, then the newest tag.
const VERSIONS: [&str; 2] = [
    "af83a65f0b6273ef38bf778d400d98892e7653d8",
    "v2.2.1+incompatible",
];
const LIMIT: Duration = Duration::from_mins(5);

#[tokio::test]
#[ignore = "needs tools that it installs: cargo xtask e2e"]
async fn h2spec_strict_h2c() -> anyhow::Result<()> {
    let case = "h2spec";
    let mut found = VERSIONS.iter().map(|version| tool::go(MODULE, version));
    let h2spec = found.by_ref().find(Result::is_ok).context("no h2spec");
    let h2spec = need!(case, h2spec.and_then(|found| found));
    let app = http().await?;
    let (_mesh, address) = Mesh::pair("kubernetes.io/h2c", app.port).await?;
    let mut command = Command::new(&h2spec);
    command.args(["-S", "-h", "127.0.0.1", "-p", &address.port().to_string()]);
    let ended = output(&mut command, LIMIT).await?;
    let sum = ended
        .out
        .lines()
        .rev()
        .find(|line| line.contains(" tests, "));
    let sum = sum.with_context(|| format!("no sum: {}{}", ended.out, ended.error))?;
    for line in failures(&ended.out) {
        say(line);
    }
    record(case, format!("-S, h2c: {sum}"));
    let number = |word: &str| {
        let before = sum.split(word).next()?;
        before
            .split(|c: char| !c.is_ascii_digit())
            .rfind(|text| !text.is_empty())?
            .parse::<u32>()
            .ok()
    };
    let [total, passed, failed] = [" tests", " passed", " failed"].map(number);
    ensure!(
        total > Some(140) && total == passed && failed == Some(0),
        "{sum}"
    );
    Ok(())
}

/// The cases that failed, as h2spec repeats them at its end.
fn failures(said: &str) -> impl Iterator<Item = &str> {
    let tail = said.split("Failures:").nth(1).unwrap_or_default();
    tail.lines().filter(|line| !line.trim().is_empty())
}
