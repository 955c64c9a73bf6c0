//! Pairs of proxies, started and waited for; each process ends with its guard.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::bench::tool::Tools;
use crate::bench::{grown, others, ours};
use crate::footprint::Guard;
use crate::step;

/// Longest wait for a start.
const START: Duration = Duration::from_secs(20);
/// A request that is its connection's last.
const GET: &str = "GET /1/0 HTTP/1.1\r\nhost: app\r\nconnection: close\r\n\r\n";
/// How its answer starts.
const OK: &str = "HTTP/1.1 200";
/// Addresses of the app.
pub(crate) const APP: [u16; 4] = [8000, 8001, 8002, 8003];

/// What is sent through a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// HTTP.
    Http = 0,
    /// Opaque bytes that come back.
    Echo = 1,
    /// Opaque bytes without end.
    Bulk = 2,
    /// HTTP/2 from the first byte.
    H2 = 3,
    /// The second proxy's own, past the first: mutual TLS.
    Second = 4,
}

/// Where everything runs: the app, the certificates, the programs.
pub(crate) struct Lab<'t> {
    pub(crate) tools: &'t Tools,
    pub(crate) floating: bool,
    pub(crate) folder: tempfile::TempDir,
    server: Guard,
}

/// A pair that can be measured.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    doors: [Option<SocketAddr>; 4],
    second: Option<Second>,
    /// What must stay alive beside the pair.
    _beside: Vec<Guard>,
    pair: Vec<Guard>,
    /// How to start the pair: the second proxy first.
    starts: Vec<Start>,
}

/// How to reach the second proxy itself.
pub(crate) struct Second {
    pub(crate) at: SocketAddr,
    /// Folder of a certificate that it takes from the first.
    pub(crate) identity: PathBuf,
}

/// How to start one proxy.
pub(crate) struct Start {
    pub(crate) command: Command,
    /// Where its output goes.
    pub(crate) log: String,
}

/// The ports of a pair: those of the first proxy, ten on those of the second.
#[derive(Clone, Copy)]
pub(crate) struct Ports(u16);

impl Ports {
    pub(crate) fn first(self, door: usize) -> u16 {
        self.0 + u16::try_from(door).unwrap_or_default()
    }

    pub(crate) fn second(self, door: usize) -> u16 {
        self.first(door) + 10
    }
}

/// A port of 127.0.0.1.
pub(crate) fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

impl<'t> Lab<'t> {
    pub(crate) fn start(tools: &'t Tools, floating: bool) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("mesh-bench-").tempdir()?;
        step::run(
            Command::new(&tools.bench)
                .arg("certificates")
                .arg(folder.path()),
        )?;
        let mut server = Command::new(&tools.bench);
        server.arg("server");
        for (name, port) in ["--http", "--echo", "--bulk", "--h2"].iter().zip(APP) {
            server.args([name, local(port).to_string().as_str()]);
        }
        let server = spawn(&server, (!floating).then_some(0), folder.path(), "server")?;
        Ok(Self {
            tools,
            floating,
            folder,
            server,
        })
    }

    pub(crate) fn server(&self) -> u32 {
        self.server.0.id()
    }

    /// Worker threads of each proxy.
    pub(crate) fn workers(&self) -> u32 {
        if self.floating { 2 } else { 1 }
    }

    /// Starts the proxies of a pair.
    fn launch(&self, starts: &[Start]) -> anyhow::Result<Vec<Guard>> {
        let cpu = (!self.floating).then_some(1);
        let spawned = starts
            .iter()
            .map(|start| spawn(&start.command, cpu, self.folder.path(), &start.log));
        spawned.collect()
    }
}

impl Peer {
    /// Starts the pair.
    pub(crate) fn new(
        lab: &Lab<'_>,
        name: &'static str,
        doors: [Option<SocketAddr>; 4],
        starts: Vec<Start>,
        beside: Vec<Guard>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            name,
            doors,
            second: None,
            _beside: beside,
            pair: lab.launch(&starts)?,
            starts,
        })
    }

    /// The second proxy can be dialled past the first.
    pub(crate) fn with_second(mut self, at: SocketAddr, identity: &Path) -> Self {
        let identity = identity.to_owned();
        self.second = Some(Second { at, identity });
        self
    }

    /// True for a pair of mesh-proxy.
    pub(crate) fn is_ours(&self) -> bool {
        self.name == "against" || self.name.starts_with("ours")
    }

    pub(crate) fn second(&self) -> Option<&Second> {
        self.second.as_ref()
    }

    /// Kills the pair and starts it again; the time to its first answer with 200.
    pub(crate) fn restart(&mut self, lab: &Lab<'_>) -> anyhow::Result<Duration> {
        self.pair.clear();
        let to = self.door(Door::Http).context("no HTTP")?;
        let begun = Instant::now();
        self.pair = lab.launch(&self.starts)?;
        while let Err(error) = ask(to, GET, OK) {
            if begun.elapsed() > START {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(begun.elapsed())
    }

    pub(crate) fn door(&self, door: Door) -> Option<SocketAddr> {
        match door {
            Door::Second => self.second.as_ref().map(|second| second.at),
            _ => self.doors.get(door as usize).copied().flatten(),
        }
    }

    /// The process numbers of both proxies.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.pair.iter().map(|process| process.0.id()).collect()
    }
}

/// Starts the named pair; none if it cannot be had or has no such mode.
pub(crate) fn start(
    lab: &Lab<'_>,
    name: &'static str,
    index: usize,
) -> anyhow::Result<Option<Peer>> {
    let ports = Ports(20_000 + 100 * u16::try_from(index)?);
    let tools = lab.tools;
    let binary = match name {
        "ours" | "ours-grown" => &tools.ours,
        "ours-one" if lab.floating => &tools.ours,
        "against" => &tools.against,
        "haproxy" => &tools.haproxy,
        // One process, so one worker; and so are our forwarders.
        "nginx" if !lab.floating => &tools.nginx,
        "ref-tls" | "ref-copy" if lab.floating => return Ok(None),
        "ref-tls" | "ref-copy" | "direct" => &Some(tools.bench.clone()),
        name if name.starts_with("envoy") => &tools.envoy,
        _ => &None,
    };
    let Some(binary) = binary else {
        return Ok(None);
    };
    let peer = match name {
        name if name == "against" || name.starts_with("ours") => {
            ours::start(lab, name, binary, ports, index)?
        }
        "haproxy" => others::haproxy(lab, binary, ports)?,
        "nginx" => others::nginx(lab, binary, ports)?,
        "ref-tls" | "ref-copy" => others::forward(lab, name, ports)?,
        "direct" => {
            let doors = APP.map(|port| Some(local(port)));
            Peer::new(lab, name, doors, vec![], vec![])?
        }
        _ => others::envoy(lab, name, binary, ports)?,
    };
    wait(&peer).with_context(|| log_of(lab.folder.path(), name))?;
    if name == "ours-grown" {
        // That it is large must have reached the proxy, or nothing was measured.
        let get = GET.replace("/1/0", &grown::nowhere());
        until(&peer, Door::Http, &get, "HTTP/1.1 503")?;
    }
    Ok(Some(peer))
}

/// Waits until the whole path answers: HTTP with 200, bytes with the same bytes.
fn wait(peer: &Peer) -> anyhow::Result<()> {
    let asks = [
        (Door::Http, GET, OK),
        (Door::Echo, "twelve bytes", "twelve bytes"),
    ];
    for (door, said, expected) in asks {
        until(peer, door, said, expected)?;
    }
    Ok(())
}

/// Asks until the answer starts as expected; a peer without that door has nothing to answer.
fn until(peer: &Peer, door: Door, said: &str, expected: &str) -> anyhow::Result<()> {
    let Some(to) = peer.door(door) else {
        return Ok(());
    };
    let begun = Instant::now();
    while let Err(error) = ask(to, said, expected) {
        if begun.elapsed() > START {
            return Err(error.context(format!("no such answer at {to} within {START:?}")));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn ask(to: SocketAddr, said: &str, expected: &str) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(said.as_bytes())?;
    let mut heard = vec![0; expected.len()];
    stream.read_exact(&mut heard)?;
    if heard != expected.as_bytes() {
        bail!("{}", String::from_utf8_lossy(&heard));
    }
    Ok(())
}

/// Starts a command with its output in a file, on one CPU if one is named.
pub(crate) fn spawn(
    command: &Command,
    cpu: Option<u32>,
    folder: &Path,
    log: &str,
) -> anyhow::Result<Guard> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut pinned = match cpu {
        // It becomes the program, so the process number is the program's.
        Some(cpu) => {
            let mut pinned = Command::new("taskset");
            pinned.args(["-c", &cpu.to_string(), &program]);
            pinned
        }
        None => Command::new(&program),
    };
    let file = File::create(folder.join(format!("{log}.log")))?;
    let child = pinned
        .args(command.get_args())
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()
        .with_context(|| program)?;
    Ok(Guard(child))
}

/// The last lines of what a peer's processes said.
fn log_of(folder: &Path, name: &str) -> String {
    let mut said = String::new();
    for side in ["control", "b", "a"] {
        let text = std::fs::read_to_string(folder.join(format!("{name}-{side}.log")));
        let text = text.unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(4).collect();
        said.extend(
            lines
                .into_iter()
                .rev()
                .map(|line| format!("{side}: {line}\n")),
        );
    }
    said
}
