//! A whole mesh of this binary: a control plane, a caller, and a catalog whose app is in this test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::support::transcript::tests;

/// How long anything may take.
const LIMIT: Duration = Duration::from_mins(1);

/// A running mesh; everything ends with it.
pub(crate) struct Mesh {
    folder: tempfile::TempDir,
    upstream: SocketAddr,
    /// Each ends when its standard input closes, or at the latest by being killed.
    processes: Vec<Child>,
}

impl Mesh {
    /// Starts it and waits until both workloads are SYNCED and the catalog has its endpoint.
    pub(crate) fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("mesh").tempdir().unwrap();
        let manifests = folder.path().join("manifests");
        std::fs::create_dir(&manifests).unwrap();
        std::fs::copy(
            tests().join("manifests/shop.yaml"),
            manifests.join("shop.yaml"),
        )
        .unwrap();
        let mut mesh = Self {
            upstream: free(),
            folder,
            processes: Vec::new(),
        };
        let manifests = manifests.display().to_string();
        mesh.spawn(&[
            "control",
            "--listen",
            "127.0.0.1:0",
            "--manifests",
            &manifests,
        ]);
        mesh.wait("the control plane", |mesh| {
            mesh.ask(&["get", "-o", "name"]).contains("mesh/default")
        });
        let app = format!("http={}", serve());
        let catalog = [
            "--service-account",
            "catalog",
            "-n",
            "demo",
            "-l",
            "app=catalog",
            "-l",
            "version=v1",
        ];
        mesh.spawn(&[&["run", "catalog-v1-0", "--port", &app], &catalog[..]].concat());
        let upstream = format!("catalog:80={}", mesh.upstream);
        mesh.spawn(&[
            "run",
            "shop-0",
            "--service-account",
            "shop",
            "-n",
            "demo",
            "--upstream",
            &upstream,
        ]);
        mesh.wait("both proxies", |mesh| {
            mesh.ask(&["proxy-status"]).matches("SYNCED").count() == 2
        });
        mesh.wait("the endpoint", |mesh| {
            mesh.ask(&["proxy-config", "endpoints", "shop-0"])
                .contains("catalog-v1-0")
        });
        mesh
    }

    /// Its state folder.
    pub(crate) fn state(&self) -> &Path {
        self.folder.path()
    }

    /// A workload `name` of the shop's account: what it sends to `listen` goes to the version of the
    /// catalog that runs; its app is a script of Bash.
    pub(crate) fn command(&self, name: &str, listen: SocketAddr, app: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meshctl"));
        command
            .args(["run", name, "--service-account", "shop", "-n", "demo"])
            .arg("--upstream")
            .arg(format!("catalog-v1:80={listen}"))
            .arg("--state")
            .arg(self.state())
            .args(["--", "bash", "-c", app])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// A call of the shop to the catalog, repeated until it has this status.
    pub(crate) fn call(&self, path: &str, status: u16) {
        let wanted = format!("HTTP/1.1 {status}");
        self.wait(path, |mesh| {
            mesh.try_call(path)
                .is_ok_and(|answer| answer.starts_with(&wanted))
        });
    }

    /// Waits until the shop's access log has this many exchanges that came to the catalog.
    pub(crate) fn wait_logged(&self, count: usize) {
        self.wait("the access log", |mesh| {
            let log = std::fs::read_to_string(mesh.access_log()).unwrap_or_default();
            log.matches("\"endpoint\"").count() >= count
        });
    }

    /// Starts a command with `--watch`.
    pub(crate) fn watch(&self, arguments: &[&str]) -> Watch {
        let mut child = Command::new(env!("CARGO_BIN_EXE_meshctl"))
            .args(arguments)
            .args(["--watch", "--state"])
            .arg(self.state())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            output
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        Watch { child, lines }
    }

    /// Makes the route name a service that is not there, and waits until that is seen.
    pub(crate) fn break_route(&self) {
        let file = self.state().join("manifests/shop.yaml");
        let text = std::fs::read_to_string(&file).unwrap();
        let broken = text.replace(
            "{ name: catalog-v2, port: 80, weight: 10 }",
            "{ name: catalog-v9, port: 80, weight: 10 }",
        );
        std::fs::write(&file, broken).unwrap();
        self.wait("the broken route", |mesh| {
            mesh.ask(&["get", "HTTPRoute"]).contains("catalog-v9")
        });
    }

    fn try_call(&self, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(self.upstream)?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: catalog\r\nconnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    fn access_log(&self) -> PathBuf {
        self.state().join("demo.shop-0").join("access.log")
    }

    fn spawn(&mut self, arguments: &[&str]) {
        let name = arguments
            .get(1)
            .filter(|_| arguments[0] == "run")
            .unwrap_or(&arguments[0]);
        let log = std::fs::File::create(self.state().join(format!("{name}.out"))).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_meshctl"))
            .args(arguments)
            .args(["--exit-with-parent", "--state"])
            .arg(self.state())
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.processes.push(child);
    }

    /// What a command prints.
    pub(crate) fn ask(&self, arguments: &[&str]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_meshctl"))
            .args(arguments)
            .arg("--state")
            .arg(self.state())
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn wait(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let limit = Instant::now() + LIMIT;
        while !is_so(self) {
            assert!(Instant::now() < limit, "{what}: not within {LIMIT:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A command that goes on.
pub(crate) struct Watch {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Watch {
    /// The first line from here on that has `part`.
    pub(crate) fn wait_for(&self, part: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(LIMIT).unwrap();
            if line.contains(part) {
                return line;
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        // Workloads leave before their control plane does.
        for process in self.processes.iter_mut().rev() {
            drop(process.stdin.take());
            let limit = Instant::now() + LIMIT;
            while process.try_wait().is_ok_and(|ended| ended.is_none()) {
                if Instant::now() > limit {
                    process.kill().ok();
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

/// An app on 127.0.0.1 that answers 200 to `/items/...` and 404 to the rest, as long as the test runs.
fn serve() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
    port
}

fn answer(mut stream: TcpStream) {
    let mut head = Vec::new();
    let mut bytes = [0; 1024];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut bytes) {
            Ok(count) if count > 0 => head.extend_from_slice(&bytes[..count]),
            _ => return,
        }
    }
    let status = if head.starts_with(b"GET /items/") {
        "200 OK"
    } else {
        "404 Not Found"
    };
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).ok();
}

/// An address on loopback that is free now.
pub(crate) fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}
