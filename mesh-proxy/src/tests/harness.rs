//! Two sidecars and scripted apps.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use mesh_api::model::entry::Entry;
use mesh_api::wire::generated::{Batch, VersionedEntry};
use mesh_api::{fixture, wire};
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::bootstrap::{AppAddress, Bootstrap, Ends, UpstreamListener};
use crate::identity::fixture::Authority;

/// The port of the callers' outbound listener.
const OUTBOUND: u16 = 19080;

/// What the port declares where a test does not say.
const HTTP: &str = "name: http, appProtocol: http";

/// A loopback address of one test workload's own.
pub(super) fn own_address() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    // The process's number keeps test programs that run side by side apart.
    let process = u8::try_from(std::process::id() % 200).unwrap_or(0);
    Ipv4Addr::new(127, 77, process, NEXT.fetch_add(1, Ordering::Relaxed)).into()
}

/// A proxy under test; drained when dropped.
pub(super) struct Proxy {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
    pub(super) bootstrap: Bootstrap,
    _folder: TempDir,
}

impl Proxy {
    /// The sum of the samples of `metric` whose labels contain `labels`.
    pub(super) fn counted(&self, metric: &str, labels: &str) -> u64 {
        let mut socket = UnixStream::connect(&self.bootstrap.admin_socket).unwrap();
        let ask = b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        socket.write_all(ask).unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        assert!(text.contains(metric), "{metric} is in no line of\n{text}");
        let samples = text.lines().filter(|line| line.starts_with(metric));
        let chosen = samples.filter(|line| line.contains(labels));
        let values = chosen.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        values.sum()
    }

    /// Waits until `counted` is `expected`.
    pub(super) fn await_count(&self, metric: &str, labels: &str, expected: u64) {
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while self.counted(metric, labels) != expected {
            assert!(
                std::time::Instant::now() < deadline,
                "{metric}{{{labels}}} is {} and not {expected}",
                self.counted(metric, labels)
            );
            thread::yield_now();
        }
    }

    /// Ends it, and starts it again from its own disk.
    fn restart(&mut self, adjust: impl FnOnce(&mut Bootstrap)) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
        adjust(&mut self.bootstrap);
        let (stop, thread) = launch(self.bootstrap.clone());
        (self.stop, self.thread) = (Some(stop), Some(thread));
    }

    /// Begins the drain.
    pub(super) fn stop(&mut self) {
        drop(self.stop.take());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(thread::panicking() || ended.is_ok(), "the proxy panicked");
        }
    }
}

/// `catalog`'s workloads, each an app behind a sidecar, and one caller with a listener for it.
pub(super) struct Mesh {
    pub(super) caller: Proxy,
    pub(super) servers: Vec<Proxy>,
    pub(super) outbound: SocketAddr,
}

impl Mesh {
    /// Starts a sidecar for each of `apps`, all of one port, and the caller's. `extra` is added to
    /// the manifests.
    pub(super) fn start(apps: &[SocketAddr], extra: &str) -> Self {
        let authority = Authority::new();
        Self::start_with(apps, extra, &authority, &authority, "catalog")
    }

    /// As `start`, with what the Service's port declares, as YAML: `name: tcp, appProtocol: tcp`.
    pub(super) fn start_speaking(apps: &[SocketAddr], port: &str, extra: &str) -> Self {
        let authority = Authority::new();
        Self::start_all(apps, (port, extra), &authority, &authority, "catalog")
    }

    /// As `start`, with a caller whose app ends before it.
    pub(super) fn start_outliving(apps: &[SocketAddr]) -> Self {
        let mut mesh = Self::start(apps, "");
        mesh.caller
            .restart(|bootstrap| bootstrap.ends = Ends::AfterApp);
        mesh.wait(&[]);
        mesh
    }

    /// As `start`, with authorities and an account of the servers' of the test's choice.
    pub(super) fn start_with(
        apps: &[SocketAddr],
        extra: &str,
        callers: &Authority,
        servers: &Authority,
        account: &str,
    ) -> Self {
        Self::start_all(apps, (HTTP, extra), callers, servers, account)
    }

    fn start_all(
        apps: &[SocketAddr],
        (port, extra): (&str, &str),
        callers: &Authority,
        servers: &Authority,
        account: &str,
    ) -> Self {
        let addresses: Vec<IpAddr> = apps.iter().map(|_| own_address()).collect();
        let yaml = manifests(apps, &addresses, port, extra);
        let catalog = fixture::catalog(&yaml);
        let entries = |workload: &str| {
            let name = "demo/catalog:80".parse().unwrap();
            let destination = catalog.destination(&name, &"demo".parse().unwrap());
            let inbound = catalog.inbound(&workload.parse().unwrap());
            let mut entries = vec![Entry::Mesh(catalog.mesh())];
            entries.extend(destination.map(Entry::Destination));
            entries.extend(inbound.map(Entry::Inbound));
            entries
        };
        let servers = apps
            .iter()
            .zip(&addresses)
            .enumerate()
            .map(|(index, (app, address))| {
                let name = format!("demo/catalog-{index}");
                proxy(
                    &name,
                    *address,
                    &entries(&name),
                    (servers, account),
                    |bootstrap| {
                        bootstrap.app_address = AppAddress::Fixed(app.ip());
                    },
                )
            })
            .collect();
        let address = own_address();
        let outbound = SocketAddr::new(address, OUTBOUND);
        let caller = proxy(
            "demo/shop",
            address,
            &entries("demo/shop"),
            (callers, "shop"),
            |bootstrap| {
                let upstream = UpstreamListener {
                    host: "catalog".into(),
                    port: 80,
                    listen: outbound,
                };
                bootstrap.upstreams.push(upstream);
            },
        );
        let mesh = Self {
            caller,
            servers,
            outbound,
        };
        mesh.wait(&addresses);
        mesh
    }

    /// A connection to the caller's outbound listener.
    pub(super) fn dial(&self) -> TcpStream {
        let stream = await_listener(self.outbound);
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream
    }

    /// Sends `request` on a connection of its own and reads to the end of the answer.
    pub(super) fn ask(&self, request: &str) -> String {
        let mut stream = self.dial();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8(answer).unwrap()
    }

    /// Looks at tunnels only: a connection to the outbound listener would be one more of a test's.
    fn wait(&self, addresses: &[IpAddr]) {
        for address in addresses.iter().chain([&self.outbound.ip()]) {
            drop(await_listener(SocketAddr::new(*address, 15008)));
        }
    }
}

fn await_listener(address: SocketAddr) -> TcpStream {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => return stream,
            Err(error) => assert!(
                std::time::Instant::now() < deadline,
                "nothing listens on {address}: {error}"
            ),
        }
        thread::yield_now();
    }
}

fn proxy(
    workload: &str,
    address: IpAddr,
    entries: &[Entry],
    identity: (&Authority, &str),
    adjust: impl FnOnce(&mut Bootstrap),
) -> Proxy {
    let folder = tempfile::tempdir().unwrap();
    let (authority, account) = identity;
    let workload = workload.parse().unwrap();
    let mut bootstrap = Bootstrap::new(workload, account.parse().unwrap(), address, folder.path());
    bootstrap.drain = Duration::from_secs(5);
    adjust(&mut bootstrap);
    let upsert = entries.iter().map(versioned).collect();
    crate::config::save_last_good(
        &bootstrap,
        &Batch {
            nonce: 0,
            upsert,
            remove: vec![],
        },
    );
    let credentials = authority.credentials("demo", account);
    crate::identity::save(&bootstrap.identity_dir, &credentials).unwrap();
    let (stop, thread) = launch(bootstrap.clone());
    Proxy {
        stop: Some(stop),
        thread: Some(thread),
        bootstrap,
        _folder: folder,
    }
}

fn launch(bootstrap: Bootstrap) -> (oneshot::Sender<()>, thread::JoinHandle<()>) {
    let (stop, stopped) = oneshot::channel::<()>();
    let thread = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let shutdown = async { drop(stopped.await) };
        runtime.block_on(crate::run(bootstrap, shutdown)).unwrap();
    });
    (stop, thread)
}

fn versioned(entry: &Entry) -> VersionedEntry {
    let encoded = wire::encode(entry);
    VersionedEntry {
        name: encoded.name.to_string(),
        version: encoded.version.to_string(),
        entry: encoded.bytes,
        features: encoded.features,
    }
}

fn manifests(apps: &[SocketAddr], addresses: &[IpAddr], declared: &str, extra: &str) -> String {
    let port = apps.first().map_or(8080, SocketAddr::port);
    let mut yaml = format!(
        "
apiVersion: mesh.dev/v1alpha1
kind: Mesh
metadata: {{ name: default }}
spec: {{ trustDomain: mesh.test }}
---
apiVersion: v1
kind: Service
metadata: {{ name: catalog, namespace: demo }}
spec: {{ selector: {{ app: catalog }}, ports: [{{ port: 80, targetPort: {port}, {declared} }}] }}
"
    );
    for (index, address) in addresses.iter().enumerate() {
        write!(
            yaml,
            "---
apiVersion: mesh.dev/v1alpha1
kind: Workload
metadata: {{ name: catalog-{index}, namespace: demo, labels: {{ app: catalog }} }}
spec: {{ address: {address}, serviceAccount: catalog }}
"
        )
        .unwrap();
    }
    if !extra.is_empty() {
        write!(yaml, "---\n{extra}").unwrap();
    }
    yaml
}

/// An app that records every byte and answers each head with what `answer` makes of it.
pub(super) struct App {
    pub(super) address: SocketAddr,
    received: Arc<Mutex<Vec<u8>>>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    ended: Arc<AtomicU8>,
}

impl App {
    /// Listens on a free port of `ip`. An empty answer closes the connection.
    pub(super) fn start(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self::start_on("127.0.0.1:0".parse().unwrap(), answer)
    }

    /// Listens on `address`.
    pub(super) fn start_on(
        address: SocketAddr,
        answer: impl Fn(&str) -> String + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::<Mutex<Vec<u8>>>::default();
        let (all, answer) = (Arc::clone(&received), Arc::new(answer));
        let (open, ended) = (
            Arc::<Mutex<Vec<TcpStream>>>::default(),
            Arc::new(AtomicU8::new(0)),
        );
        let (streams, count) = (Arc::clone(&open), Arc::clone(&ended));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                streams.lock().unwrap().push(stream.try_clone().unwrap());
                let (all, answer, count) =
                    (Arc::clone(&all), Arc::clone(&answer), Arc::clone(&count));
                thread::spawn(move || {
                    let closer = stream.try_clone().unwrap();
                    serve(stream, &all, &*answer);
                    closer
                        .shutdown(std::net::Shutdown::Both)
                        .unwrap_or_default();
                    count.fetch_add(1, Ordering::Relaxed);
                });
            }
        });
        Self {
            address,
            received,
            open,
            ended,
        }
    }

    /// An app that answers every request with 200 and `ok`.
    pub(super) fn ok() -> Self {
        Self::start(|_| "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".into())
    }

    /// Everything received so far.
    pub(super) fn received(&self) -> String {
        String::from_utf8_lossy(&self.received.lock().unwrap()).into_owned()
    }

    /// Connections taken since the last [`App::hang_up`].
    pub(super) fn connections(&self) -> usize {
        self.open.lock().unwrap().len()
    }

    /// Closes every connection.
    pub(super) fn hang_up(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            stream
                .shutdown(std::net::Shutdown::Both)
                .unwrap_or_default();
        }
    }

    /// Waits until a peer has closed a connection.
    pub(super) fn await_hang_up(&self) {
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while self.ended.load(Ordering::Relaxed) == 0 {
            assert!(
                std::time::Instant::now() < deadline,
                "the app is still held"
            );
            thread::yield_now();
        }
    }

    /// Forgets what was received.
    pub(super) fn forget(&self) {
        self.received.lock().unwrap().clear();
    }
}

/// Answers each head as it is complete; content is recorded and not waited for.
fn serve(mut stream: TcpStream, all: &Mutex<Vec<u8>>, answer: &dyn Fn(&str) -> String) {
    let mut pending = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        all.lock().unwrap().extend_from_slice(&buffer[..read]);
        pending.extend_from_slice(&buffer[..read]);
        while let Some(end) = pending.windows(4).position(|window| window == b"\r\n\r\n") {
            let head: Vec<u8> = pending.drain(..end + 4).collect();
            let head = String::from_utf8_lossy(&head).into_owned();
            // What ends in an empty line without a request line is content: trailers, or chunks.
            if !head.contains(" HTTP/1.1\r\n") {
                continue;
            }
            let text = answer(&head);
            if text.is_empty() || stream.write_all(text.as_bytes()).is_err() {
                return;
            }
        }
    }
}
