//! Reaching an endpoint: a pooled connection if one is usable, else a new one.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context as Task, Waker};
use std::time::{Duration, Instant};

use mesh_api::model::backend::{Backend, Endpoint, Transport};
use mesh_api::model::origin::Sourced;
use mesh_api::name::{DestinationName, Name, Namespace, ObjectName, Port};

use super::Context;
use crate::error::{Error, Kind};
use crate::h1::{Connection, Version};
use crate::leg::Upstream;
use crate::telemetry::Ejection;
use crate::tunnel::{Hint, TunnelError};
use crate::upstream::load::Place;
use crate::upstream::{
    AttemptOutcome, ConnectError, Dialled, EjectionChange, IdleCheck, Outstanding, PoolKey, Stream,
};

/// A connection to an endpoint, with what it counts for.
pub struct Reached {
    /// The connection, or a stream of one.
    pub leg: Upstream,
    /// The backend it was reached for.
    pub backend: Arc<Backend>,
    /// Which of its endpoints.
    pub index: usize,
    /// True if the endpoint proved who it is.
    pub tunnelled: bool,
    key: PoolKey,
    started: Instant,
    /// Of a connection that is not shared.
    place: Option<Place>,
    outstanding: Outstanding,
}

/// What an open connection counts for, until it is dropped.
pub struct Counted {
    _place: Option<Place>,
    _outstanding: Outstanding,
}

impl Reached {
    /// Where the other end is.
    pub fn endpoint(&self) -> Option<SocketAddr> {
        let endpoint = self.backend.endpoints.get(self.index);
        endpoint.map(|endpoint| endpoint.address)
    }

    /// The connection's bytes, of which nothing may have been read, and what it counts for; `None`
    /// of a stream that shares its connection.
    pub fn into_stream(self) -> Option<(Stream, Counted)> {
        let counted = Counted {
            _place: self.place,
            _outstanding: self.outstanding,
        };
        match self.leg {
            Upstream::Http1(connection) => Some((connection.into_inner().0, counted)),
            Upstream::Http2(_) => None,
        }
    }
}

/// A try under way. Its endpoint's standing learns what came of it, also where nothing did: a try
/// that a timeout cuts off counts as broken.
pub struct Watch<'c> {
    context: &'c Context,
    backend: Arc<Backend>,
    index: usize,
    started: Instant,
    settled: bool,
}

impl Watch<'_> {
    /// Records what came of it; `None` if that says nothing of the endpoint.
    pub fn settle(mut self, outcome: Option<AttemptOutcome>) {
        self.settled = true;
        if let Some(outcome) = outcome {
            self.observe(outcome);
        }
    }

    fn observe(&self, outcome: AttemptOutcome) {
        let latency = self.started.elapsed();
        self.context
            .observe(&self.backend, self.index, outcome, latency);
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.observe(AttemptOutcome::Broken);
        }
    }
}

/// An idle connection and its place under the destination's limit.
pub(super) struct Kept {
    connection: Connection<Stream>,
    place: Place,
}

impl IdleCheck for Kept {
    fn is_usable(&mut self) -> bool {
        let mut task = Task::from_waker(Waker::noop());
        self.connection.poll_idle(&mut task).is_pending()
    }
}

impl Context {
    /// Chooses an endpoint of `backend`; one already `tried` only where there is no other.
    pub fn pick(&self, backend: &Backend, tried: &[SocketAddr]) -> Option<usize> {
        let mut upstream = self.upstream.borrow_mut();
        let now = Instant::now();
        upstream.pick(backend, tried, now).or_else(|| {
            if tried.is_empty() {
                None
            } else {
                upstream.pick(backend, &[], now)
            }
        })
    }

    /// Whether `backend` has an endpoint left that was neither tried nor failed to be connected to lately.
    pub fn has_untried(&self, backend: &Backend, tried: &[SocketAddr]) -> bool {
        let mut upstream = self.upstream.borrow_mut();
        upstream.has_untried(backend, tried, Instant::now())
    }

    /// Reaches `backend.endpoints[index]` to speak `version` to it; by a new connection if `fresh`,
    /// where it is not shared.
    ///
    /// # Errors
    /// Nothing was sent in any case.
    pub async fn reach(
        &self,
        backend: &Arc<Backend>,
        index: usize,
        fresh: bool,
        version: Version,
    ) -> Result<Reached, Error> {
        let hint = match version {
            Version::Http2 => Hint::Http2,
            Version::Http10 | Version::Http11 => Hint::Http,
        };
        self.reach_by(backend, index, fresh, (version, hint)).await
    }

    /// Reaches `backend.endpoints[index]` for opaque bytes, by a connection of their own.
    ///
    /// # Errors
    /// As [`Context::reach`].
    pub async fn reach_opaque(
        &self,
        backend: &Arc<Backend>,
        index: usize,
        hint: Hint,
    ) -> Result<Reached, Error> {
        let spoken = (Version::Http11, hint);
        self.reach_by(backend, index, true, spoken).await
    }

    async fn reach_by(
        &self,
        backend: &Arc<Backend>,
        index: usize,
        fresh: bool,
        (version, hint): (Version, Hint),
    ) -> Result<Reached, Error> {
        let endpoint = backend.endpoints.get(index);
        let endpoint = endpoint.ok_or_else(|| Error::upstream(Kind::NoEndpoint))?;
        let credentials = self.credentials();
        let tunnelled = matches!(endpoint.transport, Transport::Hbone { .. });
        if tunnelled && credentials.is_none() {
            // Without an identity there is no tunnel, and nothing that stands in for one.
            return Err(Error::upstream(Kind::ConnectFailed).because(ConnectError::NoIdentity));
        }
        let key = PoolKey::new(endpoint, credentials.as_deref());
        let outstanding = self.upstream.borrow_mut().state(endpoint.address).begin();
        let (leg, place) = if version == Version::Http2 {
            let dial = async || self.dial_shared(backend, index, endpoint).await;
            (Upstream::Http2(self.streams.open(&key, dial).await?), None)
        } else {
            let pooled = if fresh {
                None
            } else {
                self.pool.borrow_mut().checkout(&key, Instant::now())
            };
            let Kept { connection, place } = match pooled {
                Some(kept) => kept,
                None => self.dial(backend, index, endpoint, hint).await?,
            };
            (Upstream::Http1(connection), Some(place))
        };
        Ok(Reached {
            leg,
            backend: Arc::clone(backend),
            index,
            tunnelled,
            key,
            // The app's latency: a handshake says nothing of it.
            started: Instant::now(),
            place,
            outstanding,
        })
    }

    async fn dial_shared(
        &self,
        backend: &Backend,
        index: usize,
        endpoint: &Endpoint,
    ) -> Result<Dialled, Error> {
        let Kept { connection, place } = self.dial(backend, index, endpoint, Hint::Http2).await?;
        Ok(Dialled {
            stream: connection.into_inner().0,
            place,
            idle: backend.settings.pool_idle.value,
            limit: backend.settings.connect_timeout.value,
        })
    }

    async fn dial(
        &self,
        backend: &Backend,
        index: usize,
        endpoint: &Endpoint,
        hint: Hint,
    ) -> Result<Kept, Error> {
        let limits = self.limits(&backend.name);
        // A dead connection that waits in the pool must not keep a new one out.
        let place = limits.connections.enter().or_else(|| {
            self.tidy();
            limits.connections.enter()
        });
        let place = place.ok_or_else(|| Error::internal(Kind::OverLimit))?;
        let credentials = self.credentials();
        let limit = backend.settings.connect_timeout.value;
        let started = Instant::now();
        let dialled = self
            .dialer
            .dial(endpoint, credentials.as_ref(), Some(hint), limit)
            .await;
        dialled
            .map(|stream| Kept {
                connection: Connection::new(stream),
                place,
            })
            .map_err(|error| {
                let kind = kind_of(&error);
                // A caller that may not call says nothing of the endpoint.
                if kind != Kind::Denied {
                    let outcome = AttemptOutcome::ConnectFailed;
                    self.observe(backend, index, outcome, started.elapsed());
                }
                Error::upstream(kind).because(error)
            })
    }

    /// Connects to the local app, the only endpoint of `backend`, for whatever will be spoken.
    ///
    /// # Errors
    /// As [`Context::reach`].
    pub async fn reach_app(&self, backend: &Arc<Backend>) -> Result<Reached, Error> {
        self.reach(backend, 0, false, Version::Http11).await
    }

    /// Records that connecting to an opaque endpoint took `latency`: all that is seen of its load.
    pub fn observe_connected(&self, reached: &Reached, latency: Duration) {
        let outcome = AttemptOutcome::Answered;
        self.observe(&reached.backend, reached.index, outcome, latency);
    }

    /// Watches the try that `reached` is for.
    pub fn watch(&self, reached: &Reached) -> Watch<'_> {
        Watch {
            context: self,
            backend: Arc::clone(&reached.backend),
            index: reached.index,
            started: reached.started,
            settled: false,
        }
    }

    fn observe(&self, backend: &Backend, index: usize, outcome: AttemptOutcome, latency: Duration) {
        let now = Instant::now();
        let change = self
            .upstream
            .borrow_mut()
            .observe(backend, index, outcome, latency, now);
        if let Some(EjectionChange::Ejected(duration)) = change
            && let Some(endpoint) = backend.endpoints.get(index)
        {
            let event = Ejection {
                backend: &backend.name.to_string(),
                endpoint: endpoint.address,
                reason: "connect-failed",
                duration,
            };
            self.shared.telemetry().ejection(&event);
        }
    }

    /// Takes a connection back after an exchange; it is kept only if it can carry another.
    pub fn give_back(&self, reached: Reached, reuse: bool) {
        let (Upstream::Http1(connection), Some(place)) = (reached.leg, reached.place) else {
            return;
        };
        if reuse && connection.is_clean() && !self.shared.drain.is_draining() {
            let idle = reached.backend.settings.pool_idle.value;
            let kept = Kept { connection, place };
            self.pool
                .borrow_mut()
                .checkin(reached.key, kept, idle, Instant::now());
        }
    }

    /// Starts HTTP/2 on a connection of which nothing was used, to be shared from now on.
    pub async fn share(&self, reached: Reached) {
        if let (Upstream::Http1(connection), Some(place)) = (reached.leg, reached.place) {
            let dialled = Dialled {
                stream: connection.into_inner().0,
                place,
                idle: reached.backend.settings.pool_idle.value,
                limit: reached.backend.settings.connect_timeout.value,
            };
            self.streams.adopt(&reached.key, dialled).await;
        }
    }

    /// Addresses of a host outside the mesh, as a backend.
    ///
    /// # Errors
    /// The host does not resolve.
    pub async fn resolve_outside(&self, host: &str, port: u16) -> Result<Arc<Backend>, Error> {
        let failed = |error: io::Error| Error::upstream(Kind::ConnectFailed).because(error);
        let addresses = tokio::net::lookup_host((host, port))
            .await
            .map_err(failed)?;
        let name = outside_name().ok_or_else(|| Error::internal(Kind::BadConfiguration))?;
        let mut backend = plain_backend(name, addresses);
        if let Some(backend) = Arc::get_mut(&mut backend) {
            backend.settings.connect_timeout = Sourced::default_value(OUTSIDE_CONNECT);
        }
        Ok(backend)
    }
}

/// Time to connect outside the mesh: the way may be long.
const OUTSIDE_CONNECT: Duration = Duration::from_secs(5);

/// The label of everything outside the mesh: bounded, whatever hosts are called.
fn outside_name() -> Option<DestinationName> {
    let (namespace, name): (Namespace, Name) = ("outside".parse().ok()?, "unknown".parse().ok()?);
    Some(DestinationName::new(
        ObjectName::new(namespace, name),
        Port::new(80)?,
    ))
}

/// A backend of plain endpoints.
pub fn plain_backend(
    name: DestinationName,
    addresses: impl IntoIterator<Item = SocketAddr>,
) -> Arc<Backend> {
    let endpoint = |address| Endpoint {
        address,
        workload: None,
        transport: Transport::Plain,
        weight: 100,
        stale: false,
    };
    let endpoints = addresses.into_iter().map(endpoint).collect();
    let settings = mesh_api::model::policy::BackendSettings::default();
    Arc::new(Backend {
        name,
        protocol: mesh_api::model::destination::Protocol::Http,
        settings,
        endpoints,
    })
}

fn kind_of(error: &ConnectError) -> Kind {
    match error {
        ConnectError::Timeout(_) | ConnectError::Tunnel(TunnelError::ConnectTimeout) => {
            Kind::ConnectTimeout
        }
        ConnectError::Tunnel(TunnelError::WrongIdentity { .. }) => Kind::WrongIdentity,
        ConnectError::Tunnel(TunnelError::Refused { reason, .. }) => {
            let parts = reason.iter().flat_map(|reason| reason.split(';'));
            let is_denial = parts.map(str::trim).any(|part| part == "reason=denied");
            if is_denial {
                Kind::Denied
            } else {
                Kind::RefusedUnsent
            }
        }
        ConnectError::Tcp { .. } | ConnectError::NoIdentity | ConnectError::Tunnel(_) => {
            Kind::ConnectFailed
        }
    }
}
