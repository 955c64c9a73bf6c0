//! The connectrpc conformance suite: gRPC, gRPC-Web and Connect over HTTP/1.1 and HTTP/2, with clients
//! and servers by others, through two sidecars and through two Envoys.
//!
//! Without a proxy between, every case passes; the sidecars pass at least as many as the Envoys, and
//! every case that those pass.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::envoy;
use e2e::figure::{record, say};
use e2e::mesh::{Mesh, Workload, free_address, free_port, service};
use e2e::process::{output, wait_until};
use e2e::{need, tool};

const VERSION: &str = "v1.0.5";
const LIMIT: Duration = Duration::from_mins(8);
const SOON: Duration = Duration::from_secs(10);

/// What the suite may ask of the two ends.
const EVERYTHING: &str = "
features:
  versions: [HTTP_VERSION_1, HTTP_VERSION_2]
  protocols: [PROTOCOL_CONNECT, PROTOCOL_GRPC, PROTOCOL_GRPC_WEB]
  codecs: [CODEC_PROTO, CODEC_JSON]
  compressions: [COMPRESSION_IDENTITY, COMPRESSION_GZIP]
  supportsH2c: true
  supportsTls: false
  supportsTlsClientCerts: false
  supportsTrailers: true
  supportsHalfDuplexBidiOverHttp1: false
  supportsConnectGet: true
";
const GRPC: &str = "
features:
  versions: [HTTP_VERSION_2]
  protocols: [PROTOCOL_GRPC]
  codecs: [CODEC_PROTO]
  compressions: [COMPRESSION_IDENTITY, COMPRESSION_GZIP]
  supportsH2c: true
  supportsTls: false
  supportsTlsClientCerts: false
  supportsTrailers: true
  supportsConnectGet: false
";

/// Ports of one setting: of the app and of the proxy before it, for HTTP/1.1 and HTTP/2.
#[derive(Clone, Copy)]
struct Ports {
    apps: [u16; 2],
    proxies: [u16; 2],
}

#[tokio::test]
#[ignore = "needs tools that it installs: cargo xtask e2e"]
async fn connect_and_grpc_web_as_well_as_envoy() -> anyhow::Result<()> {
    let case = "conformance-reference";
    let server = need!(case, program("referenceserver"));
    judge(case, EVERYTHING, None, &server).await
}

#[tokio::test]
#[ignore = "needs tools that it installs: cargo xtask e2e"]
async fn grpc_go_as_well_as_envoy() -> anyhow::Result<()> {
    let case = "conformance-grpc-go";
    let server = need!(case, program("grpcserver"));
    let client = need!(case, program("grpcclient"));
    judge(case, GRPC, Some(&client), &server).await
}

fn program(name: &str) -> anyhow::Result<PathBuf> {
    tool::go(&format!("connectrpc.com/conformance/cmd/{name}"), VERSION)
}

async fn judge(
    case: &str,
    features: &str,
    client: Option<&Path>,
    server: &Path,
) -> anyhow::Result<()> {
    let runner = need!(case, program("connectconformance"));
    let apps = [free_port()?, free_port()?];
    let suite = Suite {
        runner,
        features,
        client,
        server,
    };
    let (mesh, proxies) = sidecars(apps).await?;
    let ours = suite.run("two sidecars", Ports { apps, proxies }).await?;
    // Bytes that are passed on unread would pass every case. The last are counted soon after their ends.
    let counted = || async { Ok(mesh.exchanges("caller").await? >= ours.total) };
    wait_until("the sidecars saw every exchange", SOON, counted).await?;
    drop(mesh);
    let remembered = Remembered::of(case)?;
    let theirs = if let Some(theirs) = remembered.read() {
        say(format!("two Envoys: {} passed before", theirs.passed));
        theirs
    } else {
        let local = apps.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let envoys = need!(case, envoy::Pair::start(&local).await);
        let proxies = [envoys.listen[0].port(), envoys.listen[1].port()];
        let theirs = suite.run("two Envoys", Ports { apps, proxies }).await?;
        remembered.write(&theirs)?;
        theirs
    };
    let lost: Vec<&String> = ours.failed.difference(&theirs.failed).collect();
    for name in &lost {
        say(format!("lost: {name}"));
    }
    record(
        case,
        format!(
            "{} of {} through two sidecars, {} of {} through two Envoys",
            ours.passed, ours.total, theirs.passed, theirs.total
        ),
    );
    ensure!(
        ours.total == theirs.total && ours.total > 0,
        "cases are missing"
    );
    ensure!(ours.passed >= theirs.passed, "fewer than through Envoy");
    ensure!(lost.is_empty(), "{} cases lost, see above", lost.len());
    Ok(())
}

async fn sidecars(apps: [u16; 2]) -> anyhow::Result<(Mesh, [u16; 2])> {
    let manifests = service("first", 80, "http") + &service("second", 80, "kubernetes.io/h2c");
    let mut mesh = Mesh::start(&manifests).await?;
    let listen = [free_address()?, free_address()?];
    mesh.run(&Workload::new("first").port(apps[0]))?;
    mesh.run(&Workload::new("second").port(apps[1]))?;
    let caller = Workload::new("caller")
        .upstream("first", 80, listen[0])
        .upstream("second", 80, listen[1]);
    mesh.run(&caller)?;
    // A workload is registered once its app accepts connections; the suite's servers come later.
    let held = apps.map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)));
    mesh.wait_synced().await?;
    drop(held);
    Ok((mesh, listen.map(|address| address.port())))
}

struct Suite<'a> {
    runner: PathBuf,
    features: &'a str,
    client: Option<&'a Path>,
    server: &'a Path,
}

struct Verdict {
    total: u64,
    passed: u64,
    failed: BTreeSet<String>,
}

/// What two Envoys came to on this machine: the same suite and the same Envoy are judged once.
struct Remembered(PathBuf);

impl Remembered {
    fn of(case: &str) -> anyhow::Result<Self> {
        let name = format!("{case}-{VERSION}-{}", envoy::PACKAGE);
        Ok(Self(tool::folder()?.join("verdicts").join(name)))
    }

    /// `None` if they were not judged yet.
    fn read(&self) -> Option<Verdict> {
        let text = std::fs::read_to_string(&self.0).ok()?;
        let mut lines = text.lines();
        let mut number = || lines.next()?.parse().ok();
        let (total, passed) = (number()?, number()?);
        let failed = lines.map(ToOwned::to_owned).collect();
        Some(Verdict {
            total,
            passed,
            failed,
        })
    }

    fn write(&self, verdict: &Verdict) -> anyhow::Result<()> {
        let numbers = [verdict.total, verdict.passed].map(|number| number.to_string());
        let lines: Vec<&String> = numbers.iter().chain(&verdict.failed).collect();
        let text: String = lines
            .iter()
            .flat_map(|line| [line.as_str(), "\n"])
            .collect();
        if let Some(folder) = self.0.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&self.0, text).with_context(|| self.0.display().to_string())
    }
}

impl Suite<'_> {
    async fn run(&self, what: &str, ports: Ports) -> anyhow::Result<Verdict> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("features.yaml");
        std::fs::write(&file, self.features)?;
        let mut command = Command::new(&self.runner);
        let mode = if self.client.is_some() {
            "both"
        } else {
            "server"
        };
        // One server at a time: all use the same two ports.
        command.args(["--mode", mode, "--max-servers", "1", "-v", "--conf"]);
        command.arg(file);
        command.arg("--");
        if let Some(client) = self.client {
            command.arg(client).arg("----");
        }
        let [[app1, app2], [proxy1, proxy2]] = [ports.apps, ports.proxies];
        command
            .arg(env!("CARGO_BIN_EXE_conformance-shim"))
            .arg(format!("{app1},{proxy1},{app2},{proxy2}"))
            .arg(self.server);
        let ended = output(&mut command, LIMIT).await?;
        let verdict = read(&ended.out, &ended.error);
        let verdict = verdict.with_context(|| format!("{}{}", ended.out, ended.error))?;
        say(format!(
            "{what}: {} of {} passed",
            verdict.passed, verdict.total
        ));
        Ok(verdict)
    }
}

/// The runner's sums, and the names of the cases that failed.
fn read(out: &str, error: &str) -> anyhow::Result<Verdict> {
    let text = [out, error].concat();
    let number = |word: &str, part: usize| {
        let line = text.lines().rev().find(|line| line.contains(word))?;
        line.split(word).nth(part)?.trim().parse::<u64>().ok()
    };
    let failed = text
        .lines()
        .filter_map(|line| line.strip_prefix("FAILED: "))
        .map(|line| line.trim_end_matches(':').to_owned());
    Ok(Verdict {
        total: number("Total cases: ", 1).context("no total")?,
        passed: number(" passed, ", 0).context("no number of passed cases")?,
        failed: failed.collect(),
    })
}
