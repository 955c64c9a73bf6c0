//! Transparent capture: plain apps in network namespaces of their own, IPv4 and IPv6.
//!
//! Three namespaces: `net` is the wire and the control plane, `a` and `b` are machines. Needs root,
//! `ip`, `nft` and `curl`; says so and ends where they cannot be had.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use e2e::demo;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// What may be missing on a machine, and its package.
const PROGRAMS: [(&str, &str, &str); 3] = [
    ("ip", "-V", "iproute2"),
    ("nft", "-v", "nftables"),
    ("curl", "-V", "curl"),
];
/// How long anything here may take to come about.
const PATIENCE: Duration = Duration::from_secs(30);

const MANIFESTS: &str = "
apiVersion: mesh.dev/v1alpha1
kind: Mesh
metadata: { name: default }
spec: { outbound: { ranges: [10.96.0.0/16, 'fd00:96::/112'] } }
---
apiVersion: v1
kind: Service
metadata: { name: web, namespace: demo }
spec:
  clusterIPs: [10.96.0.10, 'fd00:96::10']
  selector: { app: web }
  ports:
  - { name: http, port: 80, targetPort: http, appProtocol: http }
  - { name: raw, port: 7, targetPort: raw }
";

#[test]
#[ignore = "needs root, and meshctl as released: cargo xtask e2e"]
fn plain_apps_reach_each_other_through_both_sidecars() {
    if let Some(why) = missing() {
        println!("skipped: transparent capture is not tested here: {why}");
        return;
    }
    let mut world = World::start();
    world.b.serve();
    let _web = world.run(
        "b",
        "web",
        "10.77.0.3",
        &["-l", "app=web", "--port", "http=8080", "--port", "raw=7000"],
    );
    let shop = world.run(
        "a",
        "shop",
        "10.77.0.2",
        &["--exclude-outbound-port", "9002"],
    );

    for url in ["http://10.96.0.10/", "http://[fd00:96::10]/"] {
        assert_eq!(world.a.await_curl(url), "hello", "{url}");
    }
    // Both came by mutual TLS.
    let log = world.folder.join("state/demo.web/proxy/access.log");
    await_lines(
        &log,
        "\"peer\":\"spiffe://cluster.local/ns/demo/sa/shop\"",
        2,
    );

    // Its server speaks first, and its port declares nothing.
    for virtual_ip in ["10.96.0.10:7", "[fd00:96::10]:7"] {
        assert_eq!(world.a.dial(virtual_ip, b"echo"), Ok("220 hi echo".into()));
    }
    assert_eq!(
        world.count("demo.shop", "mesh_detections_total"),
        2,
        "one wait each"
    );

    world.check_refusals();
    world.check_what_is_not_captured();
    let held = world.check_without_a_control_plane();
    println!("held for {held:?} without a control plane");
    world.check_restarts(shop);
}

impl World {
    fn check_refusals(&self) {
        // Plaintext to a port that takes mutual TLS only.
        assert!(
            self.a
                .curl("http://10.77.0.3:8080/")
                .contains("tls-required")
        );
        let refused = Err(ErrorKind::ConnectionReset);
        for nobody in [
            "10.96.0.10:81",
            "10.96.0.99:80",
            "[fd00:96::99]:80",
            // The capturing listeners themselves: going on would lead back to them.
            "127.0.0.1:15001",
            "[::1]:15001",
            "10.77.0.3:15006",
            // A port that the workload does not have.
            "10.77.0.3:7001",
        ] {
            assert_eq!(self.a.dial(nobody, b"x"), refused, "{nobody}");
        }
        let own = self.count(
            "demo.shop",
            "mesh_connections_refused_total{direction=\"outbound\",reason=\"not-here\"}",
        );
        assert!(own >= 2, "{own} of the own listener");
    }

    fn check_what_is_not_captured(&self) {
        self.net.serve();
        for outside in ["10.77.0.1:7000", "[fd77::1]:7000"] {
            assert_eq!(self.a.dial(outside, b"echo"), Ok("220 hi echo".into()));
        }
        let outside =
            "mesh_tcp_connections_opened_total{direction=\"outbound\",destination=\"outside/";
        let passed_on = self.count("demo.shop", outside);
        assert!(
            passed_on >= 2,
            "through the sidecar, as plain bytes: {passed_on}"
        );
        self.net.inside(|| {
            let listener = TcpListener::bind("10.77.0.1:9002").unwrap();
            thread::spawn(move || greet(&listener));
        });
        assert_eq!(
            self.a.dial("10.77.0.1:9002", b"echo"),
            Ok("220 hi echo".into())
        );
        let unchanged = self.count("demo.shop", outside);
        assert_eq!(
            unchanged, passed_on,
            "an excluded port goes past the sidecar"
        );

        let server = self.b.inside(|| UdpSocket::bind("10.77.0.3:5353").unwrap());
        let client = self.a.inside(|| UdpSocket::bind("10.77.0.2:5454").unwrap());
        let mut datagram = [0; 8];
        for (from, to, address) in [
            (&client, &server, "10.77.0.3:5353"),
            (&server, &client, "10.77.0.2:5454"),
        ] {
            to.set_read_timeout(Some(PATIENCE)).unwrap();
            from.send_to(b"ping", address).unwrap();
            let (read, sender) = to.recv_from(&mut datagram).unwrap();
            assert_eq!(
                (&datagram[..read], sender),
                (&b"ping"[..], from.local_addr().unwrap())
            );
        }
    }

    /// What is known goes on; what is not is held, then refused: never passed on in plaintext.
    fn check_without_a_control_plane(&mut self) -> Duration {
        self.control.end();
        assert_eq!(self.a.curl("http://10.96.0.10/"), "hello");
        let began = Instant::now();
        let refused = self.a.dial("10.96.0.77:80", b"x");
        assert_eq!(refused, Err(ErrorKind::ConnectionReset));
        let held = began.elapsed();
        let pending =
            "mesh_connections_refused_total{direction=\"outbound\",reason=\"config-pending\"}";
        assert_eq!(self.count("demo.shop", pending), 1);
        self.control = self.start_control();
        held
    }

    /// A killed run leaves its rules, and the next replaces them; one that ends takes them away.
    fn check_restarts(&self, mut shop: Running) {
        shop.0.kill().unwrap();
        shop.0.wait().unwrap();
        let tables = || {
            self.a
                .command("nft")
                .args(["list", "tables"])
                .output()
                .unwrap()
        };
        assert!(String::from_utf8_lossy(&tables().stdout).contains("mesh_capture"));
        let mut shop = self.run("a", "shop", "10.77.0.2", &[]);
        assert_eq!(self.a.await_curl("http://10.96.0.10/"), "hello");
        shop.end();
        let left = String::from_utf8_lossy(&tables().stdout).into_owned();
        assert_eq!(left, "", "rules are left behind");
    }
}

/// Why the test cannot run here; what is missing is installed where that is possible.
fn missing() -> Option<String> {
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

/// Two machines, the wire between them, and a control plane.
struct World {
    control: Running,
    net: Namespace,
    a: Namespace,
    b: Namespace,
    folder: PathBuf,
    _folder: tempfile::TempDir,
}

impl World {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The sidecar is of another user, and passes through.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let path = folder.path().to_owned();
        fs::copy(demo::meshctl().unwrap(), path.join("meshctl")).unwrap();
        fs::create_dir(path.join("manifests")).unwrap();
        fs::write(path.join("manifests/all.yaml"), MANIFESTS).unwrap();
        let net = Namespace::new("net");
        net.ip("link add name bridge0 type bridge");
        net.ip("link set bridge0 up");
        net.ip("addr add 10.77.0.1/24 dev bridge0");
        net.ip("addr add fd77::1/64 dev bridge0 nodad");
        let machine = |name: &str, number: u8| {
            let machine = Namespace::new(name);
            net.ip(&format!(
                "link add name v{number} type veth peer name eth0 netns {}",
                machine.name
            ));
            net.ip(&format!("link set v{number} master bridge0 up"));
            machine.ip("link set eth0 up");
            machine.ip(&format!("addr add 10.77.0.{number}/24 dev eth0"));
            machine.ip(&format!("addr add fd77::{number}/64 dev eth0 nodad"));
            // Virtual IPs are nowhere: without a way there the system would not even try.
            machine.ip("route add default via 10.77.0.1");
            machine.ip("-6 route add default via fd77::1");
            machine
        };
        let (a, b) = (machine("a", 2), machine("b", 3));
        let control = start_control(&net, &path);
        Self {
            control,
            net,
            a,
            b,
            folder: path,
            _folder: folder,
        }
    }

    fn start_control(&self) -> Running {
        start_control(&self.net, &self.folder)
    }

    /// Runs a workload without an app: the test's own threads are its apps.
    fn run(&self, machine: &str, name: &str, address: &str, more: &[&str]) -> Running {
        let namespace = if machine == "a" { &self.a } else { &self.b };
        let mut command = namespace.command(self.folder.join("meshctl").to_str().unwrap());
        command.args(["run", name, "-n", "demo", "--service-account", name]);
        command.args(["--transparent", "--address", address, "--state"]);
        command.arg(self.folder.join("state")).args(more);
        start(&mut command, &self.folder.join(format!("{name}.log")))
    }

    /// The sum of the samples that begin with `sample`, of a workload's sidecar.
    fn count(&self, workload: &str, sample: &str) -> u64 {
        let socket = self
            .folder
            .join("state")
            .join(workload)
            .join("proxy/admin.sock");
        let mut socket = UnixStream::connect(socket).unwrap();
        socket
            .write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            .unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        let samples = text.lines().filter(|line| line.starts_with(sample));
        samples
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum()
    }
}

fn start_control(net: &Namespace, folder: &Path) -> Running {
    let mut command = net.command(folder.join("meshctl").to_str().unwrap());
    command.args(["control", "--listen", "10.77.0.1:15012", "--manifests"]);
    command
        .arg(folder.join("manifests"))
        .arg("--state")
        .arg(folder.join("state"));
    let running = start(&mut command, &folder.join("control.log"));
    let began = Instant::now();
    while net
        .dial("10.77.0.1:15012", b"")
        .is_err_and(|kind| kind == ErrorKind::ConnectionRefused)
    {
        assert!(
            began.elapsed() < PATIENCE,
            "the control plane does not listen"
        );
        thread::yield_now();
    }
    running
}

fn start(command: &mut Command, log: &Path) -> Running {
    let log = File::options().create(true).append(true).open(log).unwrap();
    let command = command
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    Running(command.spawn().unwrap())
}

/// Waits until `text` is `times` in the file: the log is written a little later.
fn await_lines(log: &Path, text: &str, times: usize) {
    let began = Instant::now();
    loop {
        let lines = fs::read_to_string(log).unwrap_or_default();
        if lines.matches(text).count() == times {
            return;
        }
        assert!(
            began.elapsed() < PATIENCE,
            "{text} is not {times} times in\n{lines}"
        );
        thread::yield_now();
    }
}

/// A process that ends with the test.
struct Running(Child);

impl Running {
    fn end(&mut self) {
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

/// A network namespace of this test's own.
struct Namespace {
    name: String,
}

impl Namespace {
    fn new(name: &str) -> Self {
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

    fn ip(&self, arguments: &str) {
        let mut command = Command::new("ip");
        command.args(["-n", &self.name]).args(arguments.split(' '));
        assert!(command.status().unwrap().success(), "{command:?}");
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Runs `work` on a thread inside; sockets it makes stay there.
    fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let file = File::open(Path::new("/run/netns").join(&self.name)).unwrap();
        let entered = move || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        };
        thread::spawn(entered).join().unwrap()
    }

    fn curl(&self, url: &str) -> String {
        let output = self
            .command("curl")
            .args(["-sS", "-m", "10", url])
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        String::from_utf8(said).unwrap()
    }

    /// As `curl`, once the workloads have found each other.
    fn await_curl(&self, url: &str) -> String {
        let began = Instant::now();
        loop {
            let answer = self.curl(url);
            if answer == "hello" || began.elapsed() > PATIENCE {
                return answer;
            }
        }
    }

    /// Connects, sends `ask`, and reads to the end.
    fn dial(&self, address: &str, ask: &'static [u8]) -> Result<String, ErrorKind> {
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
    fn serve(&self) {
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

/// Speaks first, then says what it hears.
fn greet(listener: &TcpListener) {
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
