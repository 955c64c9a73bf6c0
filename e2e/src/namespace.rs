//! Machines of a case: network namespaces of their own, and what runs in them. May use nothing of this
//! crate.

#![expect(clippy::unwrap_used, reason = "a case that cannot go on must fail")]

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// What may be missing on a machine, and its package.
const PROGRAMS: [(&str, &str, &str); 3] = [
    ("ip", "-V", "iproute2"),
    ("nft", "-v", "nftables"),
    ("curl", "-V", "curl"),
];
/// How long anything here may take to come about.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A network namespace of this test's own.
pub struct Namespace {
    /// As `ip netns` knows it.
    pub name: String,
}

impl Namespace {
    /// A namespace with loopback up.
    pub fn new(name: &str) -> Self {
        let name = format!("mesh-e2e-{}-{name}", std::process::id());
        let added = Command::new("ip")
            .args(["netns", "add", &name])
            .status()
            .unwrap();
        assert!(added.success(), "ip netns add {name}");
        let namespace = Self { name };
        namespace.ip("link set lo up");
        namespace
    }

    /// Runs `ip` on it.
    pub fn ip(&self, arguments: &str) {
        let mut command = Command::new("ip");
        command.args(["-n", &self.name]).args(arguments.split(' '));
        assert!(command.status().unwrap().success(), "{command:?}");
    }

    /// A command that runs in it.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Runs `work` on a thread inside; sockets it makes stay there.
    pub fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let file = File::open(Path::new("/run/netns").join(&self.name)).unwrap();
        let entered = move || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        };
        thread::spawn(entered).join().unwrap()
    }

    /// What curl says of a URL.
    pub fn curl(&self, url: &str) -> String {
        let output = self
            .command("curl")
            .args(["-sS", "-m", "10", url])
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        String::from_utf8(said).unwrap()
    }

    /// As `curl`, once the workloads have found each other.
    pub fn await_curl(&self, url: &str) -> String {
        let began = Instant::now();
        loop {
            let answer = self.curl(url);
            if answer == "hello" || began.elapsed() > PATIENCE {
                return answer;
            }
        }
    }

    /// Connects, sends `ask`, and reads to the end.
    pub fn dial(&self, address: &str, ask: &'static [u8]) -> Result<String, ErrorKind> {
        let address: SocketAddr = address.parse().unwrap();
        self.inside(move || {
            let talk = || {
                let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.write_all(ask)?;
                stream.shutdown(Shutdown::Write)?;
                let mut answer = String::new();
                stream.read_to_string(&mut answer)?;
                Ok(answer)
            };
            let answer: std::io::Result<String> = talk();
            answer.map_err(|error| match error.kind() {
                // A reset may overtake what we write.
                ErrorKind::BrokenPipe | ErrorKind::NotConnected => ErrorKind::ConnectionReset,
                kind => kind,
            })
        })
    }

    /// A web server on 8080 and one that speaks first on 7000, until the test ends.
    pub fn serve(&self) {
        self.inside(|| {
            let web = TcpListener::bind("[::]:8080").unwrap();
            let raw = TcpListener::bind("[::]:7000").unwrap();
            thread::spawn(move || {
                for mut stream in web.incoming().flatten() {
                    thread::spawn(move || {
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
                        let mut head = [0; 4096];
                        while stream.read(&mut head).is_ok_and(|read| read > 0) {
                            stream.write_all(answer).unwrap_or_default();
                        }
                    });
                }
            });
            thread::spawn(move || greet(&raw));
        });
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let mut delete = Command::new("ip");
        quiet(delete.args(["netns", "del", &self.name]))
            .status()
            .map(drop)
            .unwrap_or_default();
    }
}

/// A process that ends with the test.
pub struct Running(pub Child);

impl Running {
    /// Tells it to end, and waits for it.
    pub fn end(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let status = self.0.wait().unwrap();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Ended already, mostly.
        self.0.kill().unwrap_or_default();
        self.0.wait().map(drop).unwrap_or_default();
    }
}

/// Why the test cannot run here; what is missing is installed where that is possible.
pub fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("it needs root".into());
    }
    for (program, version, package) in PROGRAMS {
        if has(program, version) {
            continue;
        }
        let mut install = Command::new("apt-get");
        install.args(["install", "-y", "--no-install-recommends", package]);
        let installed = quiet(&mut install).status();
        if !installed.is_ok_and(|status| status.success()) || !has(program, version) {
            return Some(format!(
                "{program} is missing and {package} cannot be installed"
            ));
        }
    }
    let probe = Namespace::new("probe");
    let rules = "table inet probe {\n chain c {\n type nat hook output priority -100;\n }\n}\n";
    let mut nft = probe.command("nft");
    let mut nft = nft.args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    nft.stdin
        .take()
        .unwrap()
        .write_all(rules.as_bytes())
        .unwrap();
    let works = nft.wait().unwrap().success();
    (!works).then(|| "the kernel lacks nftables with NAT".into())
}

fn has(program: &str, version: &str) -> bool {
    let ran = quiet(Command::new(program).arg(version)).status();
    ran.is_ok_and(|status| status.success())
}

fn quiet(command: &mut Command) -> &mut Command {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
}

/// Starts `command`; what it says is appended to `log`.
pub fn start(command: &mut Command, log: &Path) -> Running {
    let log = File::options().create(true).append(true).open(log).unwrap();
    let command = command
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    Running(command.spawn().unwrap())
}

/// Speaks first, then says what it hears.
pub fn greet(listener: &TcpListener) {
    for mut stream in listener.incoming().flatten() {
        thread::spawn(move || {
            stream.write_all(b"220 hi ").unwrap_or_default();
            let mut heard = Vec::new();
            if stream.read_to_end(&mut heard).is_ok() {
                stream.write_all(&heard).unwrap_or_default();
            }
        });
    }
}
