//! The doors: HTTP/1.1 over a Unix socket for everything, over TCP for metrics and readiness alone.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::admin::{Admin, refuse};
use crate::config::AdminAnswer;

/// Connections served at once at one door.
const MAX_CONNECTIONS: usize = 32;
/// Largest body taken, in bytes.
const MAX_BODY: usize = 1024 * 1024;
/// Time to send a head, and to send a body.
const READ: Duration = Duration::from_secs(10);
/// Wait after a failed accept (no descriptors left), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A door could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Another process answers on the socket.
    #[error("another process serves {}", .0.display())]
    Taken(PathBuf),
    /// The path is something else than a socket.
    #[error("{} is not a socket; it is left alone", .0.display())]
    NotASocket(PathBuf),
    /// The socket could not be made.
    #[error("admin socket {}", path.display())]
    Socket {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The observe listener could not be made.
    #[error("observe listener {address}")]
    Observe {
        /// Its address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// The Unix socket, mode 0600; removed when dropped.
#[derive(Debug)]
pub struct AdminSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl AdminSocket {
    /// Binds `path` within a tokio runtime; a socket that nobody serves any more is replaced.
    ///
    /// # Errors
    /// Somebody serves it, it is no socket, or it cannot be made.
    pub fn bind(path: &Path) -> Result<Self, ServeError> {
        let failed = |source| ServeError::Socket {
            path: path.to_owned(),
            source,
        };
        if let Some(folder) = path.parent() {
            let mut builder = fs::DirBuilder::new();
            let made = builder.recursive(true).mode(0o700).create(folder);
            made.map_err(failed)?;
        }
        remove_stale(path)?;
        let listener = UnixListener::bind(path).map_err(failed)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// Serves every path until it is dropped.
    pub async fn serve(self, admin: Admin) {
        let mut connections = JoinSet::new();
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    room(&mut connections).await;
                    connections.spawn(connection(stream, admin.clone(), Scope::All));
                }
                Err(error) => pause(&error).await,
            }
        }
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, path = %self.path.display(), "admin socket not removed");
        }
    }
}

/// Metrics and readiness on a thread of their own; ends when dropped.
#[derive(Debug)]
pub struct Observe {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Observe {
    /// Binds `address` and serves it.
    ///
    /// # Errors
    /// The address is taken or not ours, or the thread cannot start.
    pub fn start(address: SocketAddr, admin: Admin) -> Result<Self, ServeError> {
        let failed = |source| ServeError::Observe { address, source };
        let listener = std::net::TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        let (stop, stopped) = oneshot::channel();
        let serve = move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    () = observe(listener, admin) => {}
                }
            });
        };
        let thread = thread::Builder::new().name("observe".into()).spawn(serve);
        Ok(Self {
            address: bound,
            stop: Some(stop),
            thread: Some(thread.map_err(failed)?),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Observe {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the observe thread failed");
        }
    }
}

/// What a door shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    All,
    ReadOnly,
}

async fn observe(listener: std::net::TcpListener, admin: Admin) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "observe listener not served");
            return;
        }
    };
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                room(&mut connections).await;
                connections.spawn(connection(stream, admin.clone(), Scope::ReadOnly));
            }
            Err(error) => pause(&error).await,
        }
    }
}

/// Waits until a further connection may be served.
async fn room(connections: &mut JoinSet<()>) {
    while connections.try_join_next().is_some() {}
    while connections.len() >= MAX_CONNECTIONS {
        connections.join_next().await;
    }
}

async fn pause(error: &io::Error) {
    tracing::warn!(%error, "connection not accepted");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

async fn connection<S>(stream: S, admin: Admin, scope: Scope)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let admin = admin.clone();
        async move { Ok::<_, Infallible>(respond(&admin, scope, request).await) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(READ);
    let served = server.serve_connection(TokioIo::new(stream), service).await;
    if let Err(error) = served {
        tracing::debug!(%error, "admin connection ended");
    }
}

async fn respond(admin: &Admin, scope: Scope, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    let answer = if !matches!(*request.method(), Method::GET | Method::POST) {
        refuse(405, "GET, or POST with a body")
    } else if scope == Scope::ReadOnly {
        observed(admin, &path).await
    } else {
        match read_body(request.into_body()).await {
            Some(body) => admin.handle(&path, &body),
            None => refuse(413, "the body is too large or too slow"),
        }
    };
    to_response(&path, answer)
}

/// What is read-only, or asks the app what anybody may ask it.
async fn observed(admin: &Admin, path: &str) -> AdminAnswer {
    if matches!(path, "/metrics" | "/ready") {
        return admin.handle(path, &[]);
    }
    let answer = admin.observe(path).await;
    answer.unwrap_or_else(|| {
        refuse(
            404,
            "only /metrics, /ready, /started and the app's probes here",
        )
    })
}

async fn read_body(body: Incoming) -> Option<Bytes> {
    let collected = Limited::new(body, MAX_BODY).collect();
    let collected = tokio::time::timeout(READ, collected).await.ok()?;
    Some(collected.ok()?.to_bytes())
}

fn to_response(path: &str, answer: AdminAnswer) -> Response<Full<Bytes>> {
    let kind = match path {
        "/metrics" => "text/plain; version=0.0.4",
        path if path.starts_with("/probe/") => "text/plain",
        _ => "application/json",
    };
    let response = Response::builder()
        .status(answer.status)
        .header("content-type", kind)
        .body(Full::new(Bytes::from(answer.body)));
    response.unwrap_or_default()
}

fn remove_stale(path: &Path) -> Result<(), ServeError> {
    match fs::symlink_metadata(path) {
        Err(_) => Ok(()),
        Ok(found) if !found.file_type().is_socket() => Err(ServeError::NotASocket(path.to_owned())),
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
            Err(ServeError::Taken(path.to_owned()))
        }
        Ok(_) => fs::remove_file(path).map_err(|source| ServeError::Socket {
            path: path.to_owned(),
            source,
        }),
    }
}
