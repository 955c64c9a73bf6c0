//! What cases run in pods: an app, a load with every request counted, single calls.
//!
//! ```text
//! cluster-app serve [HTTP-PORT] [TCP-PORT]    answers with what it got; greets on the other port
//! cluster-app load URL RATE                   a line of counts each second, until it is told to end
//! cluster-app call URL [NAME: VALUE]...       one request; its answer as JSON
//! cluster-app dial HOST:PORT                  one connection; what the other end says first
//! ```

#![allow(clippy::print_stdout, reason = "its results go to the pod's log")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

/// A request without an answer is a failed one after this.
const PATIENCE: Duration = Duration::from_secs(5);
/// For requests under way when an app is told to end.
const GRACE: Duration = Duration::from_secs(10);
/// Connections of a load.
const CONNECTIONS: usize = 8;
/// Most kinds of failures that a load tells apart.
const REASONS: usize = 16;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["serve"] => serve(8080, 9000).await,
        ["serve", http, tcp] => serve(http.parse()?, tcp.parse()?).await,
        ["load", url, rate] => load(url.parse()?, rate.parse()?).await,
        ["call", url, ref headers @ ..] => call(url.parse()?, headers).await,
        ["dial", address] => dial(address).await,
        _ => {
            bail!("serve [HTTP-PORT TCP-PORT] | load URL RATE | call URL HEADER... | dial ADDRESS")
        }
    }
}

/// Serves until it is told to end; then takes nothing new, and finishes what is under way.
async fn serve(port: u16, plain: u16) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("::", port)).await?;
    let greeter = TcpListener::bind(("::", plain)).await?;
    let mut told = signal(SignalKind::terminate())?;
    let mut open = JoinSet::new();
    let (ending, _) = tokio::sync::watch::channel(false);
    println!("serving on {port} and {plain}");
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, peer) = accepted?;
                stream.set_nodelay(true)?;
                open.spawn(serve_one(stream, peer.to_string(), ending.subscribe()));
            }
            accepted = greeter.accept() => {
                open.spawn(greet(accepted?.0));
            }
            Some(_) = open.join_next() => {}
            _ = told.recv() => break,
        }
    }
    drop((listener, greeter));
    ending.send(true).ok();
    let finished = async { while open.join_next().await.is_some() {} };
    // A client that holds on for longer is left.
    timeout(GRACE, finished).await.ok();
    println!("ended");
    Ok(())
}

async fn serve_one(
    stream: TcpStream,
    peer: String,
    mut ending: tokio::sync::watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let answer = service_fn(move |request| answer(request, peer.clone()));
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return Ok(ended?),
        _ = ending.wait_for(|&ending| ending) => connection.as_mut().graceful_shutdown(),
    }
    Ok(connection.await?)
}

/// Everything that reached the app, as JSON. `/delay/MS` answers later, `/status/N` with that status.
async fn answer(request: Request<Incoming>, peer: String) -> anyhow::Result<Response<Full<Bytes>>> {
    let path = request.uri().path().to_owned();
    let number = |prefix| path.strip_prefix(prefix).and_then(|text| text.parse().ok());
    if let Some(delay) = number("/delay/") {
        sleep(Duration::from_millis(delay)).await;
    }
    let status = number("/status/").unwrap_or(200);
    let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in request.headers() {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        headers.entry(name.to_string()).or_default().push(value);
    }
    let seen = json!({
        "pod": pod(),
        "version": std::env::var("VERSION").unwrap_or_default(),
        "method": request.method().as_str(),
        "target": request.uri().to_string(),
        "headers": headers,
        "peer": peer,
    });
    request.into_body().collect().await?;
    let response = Response::builder()
        .status(u16::try_from(status)?)
        .header("content-type", "application/json")
        .header("x-pod", pod())
        .body(Full::new(seen.to_string().into()))?;
    Ok(response)
}

/// Speaks first, then echoes: no protocol that a proxy could know.
async fn greet(mut stream: TcpStream) -> anyhow::Result<()> {
    let greeting = format!("hello from {}\n", pod());
    stream.write_all(greeting.as_bytes()).await?;
    let (mut read, mut write) = stream.split();
    tokio::io::copy(&mut read, &mut write).await?;
    Ok(())
}

fn pod() -> String {
    std::env::var("HOSTNAME").unwrap_or_default()
}

/// Counts of a load.
#[derive(Default)]
struct Counts {
    sent: u64,
    good: u64,
    failed: u64,
    reasons: BTreeMap<String, u64>,
    pods: BTreeMap<String, u64>,
    slowest: Duration,
}

/// Sends at `rate`, each request when it is due, whatever became of those before.
async fn load(url: Uri, rate: u32) -> anyhow::Result<()> {
    let counts = Arc::new(Mutex::new(Counts::default()));
    let mut told = signal(SignalKind::terminate())?;
    let pool: Vec<_> = (0..CONNECTIONS).map(|_| Arc::default()).collect();
    let mut asked = JoinSet::new();
    let mut pace = interval(Duration::from_secs(1) / rate.max(1));
    let mut telling = interval(Duration::from_secs(1));
    let mut turn = pool.iter().cycle();
    loop {
        tokio::select! {
            _ = pace.tick() => {
                let slot: &Arc<tokio::sync::Mutex<Option<Open>>> = turn.next().context("a pool")?;
                asked.spawn(one(url.clone(), slot.clone(), counts.clone()));
            }
            Some(_) = asked.join_next() => {}
            _ = telling.tick() => tell(&counts),
            _ = told.recv() => break,
        }
    }
    asked.join_all().await;
    tell(&counts);
    Ok(())
}

fn tell(counts: &Mutex<Counts>) {
    let counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    let line = json!({
        "sent": counts.sent,
        "good": counts.good,
        "failed": counts.failed,
        "reasons": counts.reasons,
        "pods": counts.pods,
        "slowest": counts.slowest.as_millis(),
    });
    println!("{line}");
}

async fn one(url: Uri, slot: Arc<tokio::sync::Mutex<Option<Open>>>, counts: Arc<Mutex<Counts>>) {
    let started = Instant::now();
    let asked = async {
        let mut open = slot.lock().await;
        let got = ask(&url, &mut open).await;
        if got.is_err() {
            *open = None;
        }
        got
    };
    let got = timeout(PATIENCE, asked).await;
    let got = got.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {PATIENCE:?}")));
    let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    counts.sent += 1;
    counts.slowest = counts.slowest.max(started.elapsed());
    match got {
        Ok(pod) => {
            counts.good += 1;
            *counts.pods.entry(pod).or_default() += 1;
        }
        Err(error) => {
            counts.failed += 1;
            let reason = format!("{error:#}");
            if counts.reasons.len() < REASONS || counts.reasons.contains_key(&reason) {
                *counts.reasons.entry(reason).or_default() += 1;
            }
        }
    }
}

/// A connection, and what drives it.
struct Open {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinSet<()>,
}

/// One GET on the connection, or on a new one: an HTTP/1.1 client must expect that a connection which
/// it kept is closed before its next request.
async fn ask(url: &Uri, open: &mut Option<Open>) -> anyhow::Result<String> {
    let usable = open.as_mut().is_some_and(|open| !open.sender.is_closed());
    if !usable {
        *open = Some(connect(url).await?);
    }
    let sender = &mut open.as_mut().context("a connection")?.sender;
    sender.ready().await.context("connection closed")?;
    let response = sender.send_request(request(url, &[])?).await?;
    let status = response.status();
    let header = |name| {
        response
            .headers()
            .get(name)
            .map(|value| format!("{value:?}"))
    };
    let (error, pod) = (header("mesh-error"), header("x-pod"));
    response.into_body().collect().await.context("its body")?;
    if status != 200 {
        bail!("{status} {}", error.unwrap_or_default());
    }
    Ok(pod.unwrap_or_default().trim_matches('"').to_owned())
}

async fn connect(url: &Uri) -> anyhow::Result<Open> {
    let host = url.host().context("the URL has no host")?;
    let address = (host.trim_matches(['[', ']']), url.port_u16().unwrap_or(80));
    let stream = TcpStream::connect(address).await.context("connect")?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.context("handshake")?;
    let mut driver = JoinSet::new();
    // How a connection ended is told to whoever used it.
    driver.spawn(async move { connection.await.unwrap_or_default() });
    Ok(Open { sender, driver })
}

fn request(url: &Uri, headers: &[&str]) -> anyhow::Result<Request<Full<Bytes>>> {
    let target = url.path_and_query().map_or("/", |target| target.as_str());
    let host = url.authority().context("the URL has no host")?.as_str();
    let named = |name: &str| {
        let split = headers.iter().filter_map(|header| header.split_once(':'));
        split
            .into_iter()
            .any(|(at, _)| at.eq_ignore_ascii_case(name))
    };
    let mut request = Request::builder().uri(target);
    if !named("host") {
        request = request.header("host", host);
    }
    for header in headers {
        let (name, value) = header.split_once(':').context("a header is NAME: VALUE")?;
        request = request.header(name.trim(), value.trim());
    }
    Ok(request.body(Full::new(Bytes::new()))?)
}

/// Prints `{"status": ..., "headers": {...}, "body": ...}`; a redirect is not followed.
async fn call(url: Uri, headers: &[&str]) -> anyhow::Result<()> {
    let called = async {
        let mut open = connect(&url).await?;
        let response = open.sender.send_request(request(&url, headers)?).await?;
        let status = response.status().as_u16();
        let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in response.headers() {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            seen.entry(name.to_string()).or_default().push(value);
        }
        let body = response.into_body().collect().await?.to_bytes();
        let text = String::from_utf8_lossy(&body).into_owned();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        open.driver.shutdown().await;
        anyhow::Ok(json!({ "status": status, "headers": seen, "body": body }))
    };
    let got = timeout(PATIENCE, called).await.context("no answer")?;
    // How it failed is a result too.
    let line = got.unwrap_or_else(|error| json!({ "error": format!("{error:#}") }));
    println!("{line}");
    Ok(())
}

/// Prints `{"greeting": ...}` or `{"error": ...}`.
async fn dial(address: &str) -> anyhow::Result<()> {
    let dialled = async {
        let mut stream = TcpStream::connect(address).await.context("connect")?;
        let mut buffer = [0; 256];
        let count = stream.read(&mut buffer).await.context("read")?;
        let text = String::from_utf8_lossy(buffer.get(..count).unwrap_or_default()).into_owned();
        anyhow::Ok(json!({ "greeting": text.trim_end() }))
    };
    let got = timeout(PATIENCE, dialled).await.context("no greeting")?;
    let line = got.unwrap_or_else(|error| json!({ "error": format!("{error:#}") }));
    println!("{line}");
    Ok(())
}
