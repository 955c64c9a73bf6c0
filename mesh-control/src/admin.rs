//! The administrators' door: HTTP/1.1 with JSON on a Unix socket of mode 0600.
//!
//! | request | answer |
//! |---|---|
//! | `GET /ready` | `{"ready":true,"listen","trustDomain","clusterDomain"}` |
//! | `GET /version` | `{"version"}` |
//! | `GET /proxies` | list of proxies, as `serve::proxies::ProxyRow` |
//! | `GET /resources[?objects]` | list of `status::ResourceStatus`, with the objects in force if asked |
//! | `GET /resources/{kind}/{namespace or -}/{name}` | one of them, with its object |
//! | `GET /services` | list of `index::ServiceRow` |
//! | `GET /workloads` | list of `index::WorkloadRow` |
//! | `GET` or `POST /proxy/{namespace}/{workload}/{path}` | the proxy's own answer; also below `/proxies` |
//! | `POST /tokens` with [`TokenRequest`] | `{"token","expires","identity"}` |
//!
//! Errors are `{"error"}` with a fitting status. May use all but `lib`.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use mesh_api::name::{Identity, Name, Namespace, ObjectName};
use mesh_api::token::Claims;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::UnixListener;
use tokio::task::JoinSet;

use crate::ca::token::{Tokens, new_id};
use crate::error::Error;
use crate::index::Index;
use crate::serve::proxies::NoAnswer;
use crate::serve::session::Shared;
use crate::web::{self, Answer, Refusal, ok, read_body, respond};

/// What the door shows and does.
pub struct Admin {
    /// Everything served to proxies.
    pub shared: Shared,
    /// Mints tokens.
    pub tokens: Arc<Tokens>,
    /// Where proxies connect.
    pub listen: SocketAddr,
}

/// A wish for a join token.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenRequest {
    /// Namespace of the identity to grant.
    pub namespace: Namespace,
    /// Its service account.
    pub service_account: Name,
    /// Services its workloads may back; empty: any of the namespace.
    #[serde(default)]
    pub services: Vec<Name>,
    /// Seconds until it is refused, 1 to 31,536,000; one hour if absent.
    #[serde(default = "one_hour")]
    pub lifetime_seconds: u32,
    /// Refused after its first use.
    #[serde(default)]
    pub one_use: bool,
    /// The address that joining processes use, `ip:port`; where the control plane listens if absent.
    #[serde(default)]
    pub control: Option<SocketAddr>,
}

/// The socket, removed when dropped.
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Binds the socket at `path`, mode 0600; one left by a control plane that died is replaced.
    ///
    /// # Errors
    /// A path that another control plane listens on, or that cannot be bound.
    pub fn bind(path: &Path) -> Result<Self, Error> {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            let source = std::io::Error::from(std::io::ErrorKind::AddrInUse);
            return Err(Error::io("bind", path)(source));
        }
        crate::state::remove(path)?;
        if let Some(folder) = path.parent()
            && !folder.exists()
        {
            crate::state::make_folder(folder)?;
        }
        let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
        let bound = UnixListener::bind(path);
        rustix::process::umask(before);
        let listener = bound.map_err(Error::io("bind", path))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
            .map_err(Error::io("guard", path))?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Err(error) = crate::state::remove(&self.path) {
            tracing::debug!(error = error.chain(), "the admin socket stays");
        }
    }
}

/// Serves administrators until dropped.
pub async fn serve(socket: Socket, admin: Arc<Admin>) {
    let mut running = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = socket.listener.accept() => accepted,
            Some(_) = running.join_next() => continue,
        };
        let Ok((stream, _)) = accepted else {
            // Out of descriptors, most likely: give some time to close.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        if running.len() >= MAX_CONNECTIONS {
            continue;
        }
        let admin = Arc::clone(&admin);
        running.spawn(async move {
            let service = service_fn(move |request| {
                let admin = Arc::clone(&admin);
                async move { Ok::<_, std::convert::Infallible>(admin.answer(request).await) }
            });
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(10))
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "admin connection");
            }
        });
    }
}

impl Admin {
    /// Answers one request of somebody who may ask.
    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Answer {
        let answered = self.route(request).await;
        answered.unwrap_or_else(|refusal| web::refuse(&refusal))
    }

    async fn route(&self, request: Request<Incoming>) -> Result<Answer, Refusal> {
        let path = request.uri().path().to_owned();
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let get = request.method() == Method::GET;
        match parts.as_slice() {
            ["ready"] if get => Ok(ok(&self.ready())),
            ["version"] if get => Ok(ok(&json!({ "version": mesh_api::version() }))),
            ["proxies"] if get => Ok(ok(&self.shared.proxies.rows())),
            ["resources"] if get => {
                let with_objects = request.uri().query() == Some("objects");
                let all = if with_objects {
                    Index::objects
                } else {
                    Index::statuses
                };
                Ok(ok(&self.shared.publisher.read(all)))
            }
            ["resources", kind, namespace, name] if get => self.resource(kind, namespace, name),
            ["services"] if get => Ok(ok(&self.shared.publisher.read(Index::services))),
            ["workloads"] if get => Ok(ok(&self.shared.publisher.read(Index::workloads))),
            ["proxy" | "proxies", namespace, workload, ..] => {
                let workload = format!("{namespace}/{workload}");
                self.relay(&workload, &parts, request).await
            }
            ["tokens"] if request.method() == Method::POST => {
                let body = read_body(request, MAX_BODY).await?;
                self.mint(&body)
            }
            [
                "ready" | "version" | "proxies" | "resources" | "services" | "workloads" | "tokens",
                ..,
            ] => {
                let text = "no such method or path below this one";
                Err(Refusal(StatusCode::METHOD_NOT_ALLOWED, text.into()))
            }
            _ => Err(Refusal(StatusCode::NOT_FOUND, format!("no {path} here"))),
        }
    }

    fn ready(&self) -> serde_json::Value {
        let facts = self.shared.publisher.read(Index::facts);
        json!({
            "ready": true,
            "listen": self.listen.to_string(),
            "trustDomain": facts.trust_domain.as_str(),
            "clusterDomain": facts.cluster_domain.as_str(),
        })
    }

    fn resource(&self, kind: &str, namespace: &str, name: &str) -> Result<Answer, Refusal> {
        let namespace = (namespace != "-").then_some(namespace);
        let statuses = self.shared.publisher.read(Index::objects);
        statuses
            .into_iter()
            .find(|status| {
                status.kind.eq_ignore_ascii_case(kind)
                    && status.namespace.as_deref() == namespace
                    && status.name == name
            })
            .map(|status| ok(&status))
            .ok_or_else(|| {
                let place = namespace.map(|ns| format!("{ns}/")).unwrap_or_default();
                Refusal(StatusCode::NOT_FOUND, format!("no {kind} {place}{name}"))
            })
    }

    async fn relay(
        &self,
        workload: &str,
        parts: &[&str],
        request: Request<Incoming>,
    ) -> Result<Answer, Refusal> {
        let workload: ObjectName = workload
            .parse()
            .map_err(|error| Refusal(StatusCode::BAD_REQUEST, format!("workload: {error}")))?;
        let mut path = format!("/{}", parts.get(3..).unwrap_or_default().join("/"));
        if let Some(query) = request.uri().query() {
            path.push('?');
            path.push_str(query);
        }
        let body = read_body(request, MAX_BODY).await?;
        let answer = self
            .shared
            .proxies
            .ask(&workload, &path, body.to_vec())
            .await
            .map_err(|none| {
                let status = match none {
                    NoAnswer::Unknown => StatusCode::NOT_FOUND,
                    NoAnswer::Disconnected => StatusCode::SERVICE_UNAVAILABLE,
                    NoAnswer::Late => StatusCode::GATEWAY_TIMEOUT,
                };
                Refusal(status, format!("{workload}: {none}"))
            })?;
        let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::BAD_GATEWAY);
        Ok(respond(status, "application/json", answer.body.into()))
    }

    fn mint(&self, body: &[u8]) -> Result<Answer, Refusal> {
        let bad = |text: String| Refusal(StatusCode::BAD_REQUEST, text);
        let failed = |text: String| Refusal(StatusCode::INTERNAL_SERVER_ERROR, text);
        let wish: TokenRequest =
            serde_json::from_slice(body).map_err(|error| bad(error.to_string()))?;
        if !(1..=31_536_000).contains(&wish.lifetime_seconds) {
            return Err(bad("lifetimeSeconds: must be 1 to 31536000".into()));
        }
        if wish.services.len() > MAX_SERVICES {
            return Err(bad(format!("services: at most {MAX_SERVICES}")));
        }
        let identity = Identity {
            trust_domain: self
                .shared
                .publisher
                .read(|index| index.facts().trust_domain),
            namespace: wish.namespace.clone(),
            service_account: wish.service_account.clone(),
        };
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = i64::try_from(since.unwrap_or_default().as_secs()).unwrap_or(i64::MAX);
        let claims = Claims {
            id: new_id().map_err(|error| failed(error.chain()))?,
            control: wish.control.unwrap_or(self.listen).to_string(),
            root: self.shared.authority.root_hash(),
            namespace: wish.namespace,
            service_account: wish.service_account,
            services: wish.services,
            not_after: now.saturating_add(i64::from(wish.lifetime_seconds)),
            one_use: wish.one_use,
        };
        let expires = claims.not_after;
        let token = self
            .tokens
            .mint(claims)
            .map_err(|error| failed(error.to_string()))?;
        Ok(ok(&json!({
            "token": token.to_string(),
            "expires": expires,
            "identity": identity.to_string(),
        })))
    }
}

fn one_hour() -> u32 {
    3600
}

const MAX_CONNECTIONS: usize = 64;
const MAX_BODY: usize = 1024 * 1024;
const MAX_SERVICES: usize = 100;
