//! Transparent capture: plain apps in network namespaces of their own, IPv4 and IPv6.
//!
//! Three namespaces: `net` is the wire and the control plane, `a` and `b` are machines. Needs root,
//! `ip`, `nft` and `curl`; says so and ends where they cannot be had.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use e2e::demo;
use e2e::namespace::{Namespace, PATIENCE, Running, greet, missing, start};

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
        // The killed run's sidecar may still be there to answer: this run has its own once it says so.
        let own = format!("\"run\":{}", shop.0.id());
        await_lines(&self.folder.join("state/demo.shop/pids.json"), &own, 1);
        assert_eq!(self.a.await_curl("http://10.96.0.10/"), "hello");
        shop.end();
        let left = String::from_utf8_lossy(&tables().stdout).into_owned();
        assert_eq!(left, "", "rules are left behind");
    }
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
