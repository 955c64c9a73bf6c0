//! Serves proxies over gRPC: joins, renewals, registrations, and one stream of entries each.
//!
//! The server runs on connections of our own acceptor, so that each request knows its peer's
//! verified identity. May use `publish` and `ca`.

pub mod acceptor;
#[allow(
    missing_docs,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated from proto/mesh.proto"
)]
#[rustfmt::skip]
pub mod generated;
pub mod peer;
pub mod proof;
pub mod proxies;
pub mod session;
pub mod subscriptions;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mesh_api::error::Invalid;
use mesh_api::name::{Identity, Name, ObjectName};
use mesh_api::wire::generated as wire;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::ca::Issued;
use crate::ca::request::Refused as RequestRefused;
use crate::certificate::SharedTls;
use crate::error::Error;
use crate::lease::Registration;
use crate::publish::NotRegistered;
use crate::telemetry;
use generated::control_server::{Control, ControlServer};
use peer::{Certified, Peer};
use proof::Proof;
use session::{Session, Shared};

/// Serves proxies on `listener` until `shared.stopping`.
///
/// # Errors
/// A server that fails as a whole.
pub async fn serve(
    listener: TcpListener,
    tls: SharedTls,
    shared: Shared,
    proof: Proof,
) -> Result<(), Error> {
    let (connections, accepted) = mpsc::channel(ACCEPTED);
    let (sessions, mut arriving) = mpsc::channel::<Session>(ACCEPTED);
    let mut stopping = shared.stopping.clone();
    let service = Service {
        shared,
        proof,
        sessions,
    };
    let service = ControlServer::new(service).max_decoding_message_size(MAX_MESSAGE);
    let server = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(10)))
        .http2_keepalive_timeout(Some(Duration::from_secs(5)))
        .max_concurrent_streams(64)
        .add_service(service)
        .serve_with_incoming_shutdown(ReceiverStream::new(accepted), async move {
            drop(stopping.wait_for(|stopping| *stopping).await);
        });
    let mut running = JoinSet::new();
    let mut accepting = JoinSet::new();
    accepting.spawn(acceptor::accept(listener, tls, connections));
    tokio::pin!(server);
    loop {
        tokio::select! {
            ended = &mut server => return Ok(ended?),
            Some(session) = arriving.recv() => {
                running.spawn(session.run());
            }
            Some(_) = running.join_next() => {}
        }
    }
}

struct Service {
    shared: Shared,
    proof: Proof,
    sessions: mpsc::Sender<Session>,
}

#[tonic::async_trait]
impl Control for Service {
    type DeliverStream = ReceiverStream<Result<wire::ControlMessage, Status>>;

    async fn join(
        &self,
        request: Request<wire::JoinRequest>,
    ) -> Result<Response<wire::Certificate>, Status> {
        let request = request.into_inner();
        let now = SystemTime::now();
        let asks = self.proof.check(&request, seconds(now)).await?;
        let identity = self.identity(asks.namespace, asks.service_account);
        // Signed first: a bad request must not use a token up.
        let issued = self.issue(&request.certificate_request, &identity, now)?;
        if let Some(claims) = asks.claims {
            self.proof.spend(&claims, seconds(now))?;
        }
        Ok(Response::new(self.certificate(&issued, &identity)))
    }

    async fn renew(
        &self,
        request: Request<wire::RenewRequest>,
    ) -> Result<Response<wire::Certificate>, Status> {
        let peer = self.authenticate(&request)?;
        let wire::RenewRequest {
            certificate_request,
        } = request.into_inner();
        let (namespace, account) = (&peer.identity.namespace, &peer.identity.service_account);
        let runs = |index: &crate::index::Index| index.runs_as(namespace, account);
        if self.proof.attestor.is_some() && !self.shared.publisher.read(runs) {
            // Of a pod that is gone: its key may have outlived it.
            return Err(Status::permission_denied(format!(
                "no pod or workload of {namespace} runs as ServiceAccount {account} any more"
            )));
        }
        // The trust domain may be about to change: what is granted is of the present one.
        let identity = self.identity(peer.identity.namespace, peer.identity.service_account);
        let issued = self.issue(&certificate_request, &identity, SystemTime::now())?;
        Ok(Response::new(self.certificate(&issued, &identity)))
    }

    async fn register(
        &self,
        request: Request<wire::RegisterRequest>,
    ) -> Result<Response<wire::RegisterResponse>, Status> {
        let peer = self.authenticate(&request)?;
        let registration = Registration::check(request.into_inner(), &peer.identity)
            .map_err(|faults| Status::invalid_argument(join_faults(&faults)))?;
        let allowed = self.proof.tokens.granted(&peer.identity);
        let registered = self
            .shared
            .publisher
            .register(registration, &allowed, Instant::now())
            .map_err(refuse_registration)?;
        let lease = registered.lifetime.as_secs().max(1);
        Ok(Response::new(wire::RegisterResponse {
            lease_seconds: u32::try_from(lease).unwrap_or(u32::MAX),
            shadowed_by_file: registered.shadowed_by_file,
        }))
    }

    async fn deregister(
        &self,
        request: Request<wire::DeregisterRequest>,
    ) -> Result<Response<wire::DeregisterResponse>, Status> {
        let peer = self.authenticate(&request)?;
        let name: Name = request
            .into_inner()
            .name
            .parse()
            .map_err(|error| Status::invalid_argument(format!("name: {error}")))?;
        let name = ObjectName::new(peer.identity.namespace.clone(), name);
        self.shared
            .publisher
            .deregister(&name, &peer.identity)
            .map_err(|error| Status::internal(error.chain()))?;
        Ok(Response::new(wire::DeregisterResponse {}))
    }

    async fn deliver(
        &self,
        request: Request<Streaming<wire::ProxyMessage>>,
    ) -> Result<Response<Self::DeliverStream>, Status> {
        let peer = self.authenticate(&request)?;
        let (down, messages) = mpsc::channel(QUEUE);
        let session = Session {
            shared: self.shared.clone(),
            peer,
            up: request.into_inner(),
            down,
        };
        self.sessions
            .send(session)
            .await
            .map_err(|_| Status::unavailable("the control plane is stopping"))?;
        Ok(Response::new(ReceiverStream::new(messages)))
    }
}

impl Service {
    /// The caller's verified certificate: of our trust domain and still valid.
    fn authenticate<T>(&self, request: &Request<T>) -> Result<Certified, Status> {
        let certified = request
            .extensions()
            .get::<Peer>()
            .and_then(|peer| peer.certified.clone())
            .ok_or_else(|| {
                Status::unauthenticated("this call needs a client certificate: join first")
            })?;
        if certified.not_after <= SystemTime::now() {
            return Err(Status::unauthenticated("the client certificate has ended"));
        }
        let facts = self.shared.publisher.read(crate::index::Index::facts);
        let domain = &certified.identity.trust_domain;
        if *domain != facts.trust_domain && !facts.trust_domain_aliases.contains(domain) {
            return Err(Status::permission_denied(format!(
                "{} is not of trust domain {}",
                certified.identity, facts.trust_domain
            )));
        }
        Ok(certified)
    }

    fn identity(&self, namespace: mesh_api::name::Namespace, service_account: Name) -> Identity {
        Identity {
            trust_domain: self
                .shared
                .publisher
                .read(|index| index.facts().trust_domain),
            namespace,
            service_account,
        }
    }

    fn issue(
        &self,
        request: &[u8],
        identity: &Identity,
        now: SystemTime,
    ) -> Result<Issued, Status> {
        let issued = self
            .shared
            .authority
            .issue(request, identity, now)
            .map_err(|refused| match &refused {
                RequestRefused::Malformed(_) | RequestRefused::KeyType => {
                    Status::invalid_argument(refused.to_string())
                }
                RequestRefused::Identity { .. } => Status::permission_denied(refused.to_string()),
                RequestRefused::TooMany => Status::resource_exhausted(refused.to_string()),
                RequestRefused::Failed(_) => Status::internal(refused.to_string()),
            })?;
        telemetry::record_issued(&identity.to_string(), &issued.serial);
        Ok(issued)
    }

    fn certificate(&self, issued: &Issued, identity: &Identity) -> wire::Certificate {
        let roots = self.shared.authority.roots();
        wire::Certificate {
            chain: issued.chain.iter().map(|der| der.to_vec()).collect(),
            roots: roots.iter().map(|der| der.to_vec()).collect(),
            identity: identity.to_string(),
        }
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err wants"
)]
fn refuse_registration(refused: NotRegistered) -> Status {
    let text = refused.to_string();
    match refused {
        NotRegistered::Refused(crate::lease::Refused::Full) => Status::resource_exhausted(text),
        NotRegistered::Refused(crate::lease::Refused::Held { .. }) => Status::already_exists(text),
        NotRegistered::Service { .. } => Status::permission_denied(text),
        NotRegistered::Store(_) => Status::internal(text),
    }
}

fn join_faults(faults: &[Invalid]) -> String {
    let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

fn seconds(now: SystemTime) -> i64 {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    i64::try_from(since).unwrap_or(i64::MAX)
}

/// Messages to one proxy that may wait to be written.
const QUEUE: usize = 4;
const ACCEPTED: usize = 64;
/// Longest message taken from a proxy, in bytes.
const MAX_MESSAGE: usize = 4 * 1024 * 1024;
