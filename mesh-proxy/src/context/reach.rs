//! Reaching an endpoint: a pooled connection if one is usable, else a new one.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh_api::decide::eject::judgement::Judgement;
use mesh_api::decide::eject::probe::Asking;
use mesh_api::decide::{deadline, ratelimit};
use mesh_api::model::backend::{Backend, Endpoint, Transport};
use mesh_api::model::origin::Sourced;
use mesh_api::name::{DestinationName, Name, Namespace, ObjectName, Port};
use mesh_api::snapshot::BackendTable;

use super::Context;
use super::reached::{Kept, Reached, Watch};
use super::room::Room;
use crate::error::{Error, Kind};
use crate::h1::{Connection, Version};
use crate::identity::Credentials;
use crate::leg::Upstream;
use crate::telemetry::Ejection;
use crate::tunnel::{Hint, TunnelError};
use crate::upstream::{
    AttemptOutcome, ConnectError, Dialled, EjectionChange, Group, PoolKey, Probe,
};

impl Context {
    /// Chooses an endpoint of a backend at `now`, by the hash of a `key` where one is to; one already `tried` only where there is no other.
    pub fn pick(
        &self,
        group: &Group,
        key: Option<u64>,
        tried: &[SocketAddr],
        now: Instant,
    ) -> Option<usize> {
        let mut upstream = self.upstream.borrow_mut();
        upstream.pick(group, key, tried, now).or_else(|| {
            if tried.is_empty() {
                None
            } else {
                upstream.pick(group, key, &[], now)
            }
        })
    }

    /// Whether an endpoint is left that was neither tried nor failed to be connected to lately.
    pub fn has_untried(&self, group: &Group, tried: &[SocketAddr]) -> bool {
        let upstream = self.upstream.borrow();
        upstream.has_untried(group, tried, Instant::now())
    }

    /// Reaches an endpoint of a backend, by its index, to speak `version` to it; by a new connection if `fresh`,
    /// where it is not shared.
    ///
    /// # Errors
    /// Nothing was sent in any case.
    pub async fn reach(
        &self,
        group: &Rc<Group>,
        index: usize,
        (version, fresh): (Version, bool),
        now: Instant,
    ) -> Result<Reached, Error> {
        let hint = match version {
            Version::Http2 => Hint::Http2,
            Version::Http10 | Version::Http11 => Hint::Http,
        };
        self.reach_by(group, index, (version, hint, fresh), now)
            .await
    }

    /// Reaches an endpoint for opaque bytes, by a connection of their own.
    ///
    /// # Errors
    /// As [`Context::reach`].
    pub async fn reach_opaque(
        &self,
        group: &Rc<Group>,
        index: usize,
        hint: Hint,
    ) -> Result<Reached, Error> {
        let spoken = (Version::Http11, hint, true);
        self.reach_by(group, index, spoken, Instant::now()).await
    }

    async fn reach_by(
        &self,
        group: &Rc<Group>,
        index: usize,
        (version, hint, fresh): (Version, Hint, bool),
        now: Instant,
    ) -> Result<Reached, Error> {
        let endpoint = group.backend().endpoints.get(index);
        let endpoint = endpoint.ok_or_else(|| Error::upstream(Kind::NoEndpoint))?;
        let tunnelled = matches!(endpoint.transport, Transport::Hbone { .. });
        let key = if tunnelled {
            let mut credentials = self.credentials.borrow_mut();
            // Without an identity there is no tunnel, and nothing that stands in for one.
            let no_identity = || {
                let failed = Error::upstream(Kind::ConnectFailed);
                failed.because(ConnectError::NoIdentity)
            };
            let own: &Credentials = credentials.current().ok_or_else(no_identity)?;
            group.pool_key(index, Some(own))
        } else {
            group.pool_key(index, None)
        };
        let key = key.ok_or_else(|| Error::upstream(Kind::NoEndpoint))?;
        let outstanding = self.upstream.borrow().state(group, index).begin();
        // The app's latency: a handshake says nothing of it.
        let mut started = now;
        // What is rare is boxed: every exchange holds the room that this takes.
        let (leg, place, ends) = if version == Version::Http2 {
            let dial = async || self.dial_shared(group, index).await;
            let stream = Box::pin(self.streams.open(&key, dial)).await?;
            started = Instant::now();
            (Upstream::Http2(Box::new(stream)), None, None)
        } else {
            let pooled = if fresh {
                None
            } else {
                self.checkout(&key, now)
            };
            let kept = if let Some(kept) = pooled {
                kept
            } else {
                let reuse = (!fresh).then_some(&key);
                let dialled = Box::pin(self.dial(group, index, hint, reuse)).await?;
                started = Instant::now();
                dialled
            };
            (
                Upstream::Http1(kept.connection),
                Some(kept.place),
                kept.ends,
            )
        };
        Ok(Reached {
            leg,
            group: Rc::clone(group),
            index,
            tunnelled,
            key,
            started,
            place,
            ends,
            outstanding,
            judged_late: false,
        })
    }

    async fn dial_shared(&self, group: &Group, index: usize) -> Result<Dialled, Error> {
        let Kept {
            connection,
            place,
            ends,
        } = self.dial(group, index, Hint::Http2, None).await?;
        let settings = &group.backend().settings;
        Ok(Dialled {
            stream: connection.into_inner().0,
            place,
            ends,
            idle: settings.pool_idle.value,
            limit: settings.connect_timeout.value,
        })
    }

    /// An idle connection that can still be used.
    pub(super) fn checkout(&self, key: &PoolKey, now: Instant) -> Option<Kept> {
        let mut kept = self.pool.borrow_mut().checkout(key, now)?;
        kept.place.resume();
        Some(kept)
    }

    async fn dial(
        &self,
        group: &Group,
        index: usize,
        hint: Hint,
        reuse: Option<&PoolKey>,
    ) -> Result<Kept, Error> {
        let backend = group.backend();
        let endpoint = backend.endpoints.get(index);
        let endpoint = endpoint.ok_or_else(|| Error::upstream(Kind::NoEndpoint))?;
        let place = match self.room(group, reuse).await? {
            Room::Place(place) => place,
            Room::Kept(kept) => return Ok(kept),
        };
        let credentials = self.credentials();
        let limit = backend.settings.connect_timeout.value;
        let started = Instant::now();
        let dialled = self
            .dialer
            .dial(endpoint, credentials.as_ref(), Some(hint), limit)
            .await;
        let age = backend.settings.max_connection_age.value;
        let age = age.map(|limit| self.with_random(|random| deadline::age(limit, random)));
        dialled
            .map(|stream| Kept {
                connection: Box::new(Connection::new(stream)),
                place,
                ends: age.and_then(|age| started.checked_add(age)),
            })
            .map_err(|error| {
                let kind = kind_of(&error);
                // Neither a caller that may not call nor a limit says anything of the endpoint.
                if !matches!(kind, Kind::Denied | Kind::RateLimited) {
                    let outcome = AttemptOutcome::ConnectFailed;
                    let now = Instant::now();
                    self.observe(group, index, outcome, (now - started, now));
                }
                Error::upstream(kind).because(error)
            })
    }

    /// Connects to the local app, the only endpoint of `backend`, for whatever will be spoken.
    ///
    /// # Errors
    /// As [`Context::reach`].
    pub async fn reach_app(&self, backend: &Arc<BackendTable>) -> Result<Reached, Error> {
        let group = self.group(backend);
        let spoken = (Version::Http11, false);
        self.reach(&group, 0, spoken, Instant::now()).await
    }

    /// Records that connecting to an opaque endpoint took `latency`: all that is seen of its load.
    pub fn observe_connected(&self, reached: &Reached, latency: Duration) {
        let outcome = AttemptOutcome::Answered;
        let observed = (latency, Instant::now());
        self.observe(&reached.group, reached.index, outcome, observed);
    }

    /// An endpoint that a request may try, since its ejection ran out.
    pub fn probe(
        &self,
        group: &Group,
        asking: &Asking<'_>,
        (key, tried): (Option<u64>, &[SocketAddr]),
        now: Instant,
    ) -> Option<(usize, Probe)> {
        let upstream = self.upstream.borrow();
        upstream.probe(group, asking, (key, tried), now)
    }

    /// Records what the end of a response says of its endpoint.
    pub fn judge_late(&self, reached: &Reached, judgement: Judgement) {
        let now = Instant::now();
        let times = (now - reached.started, now);
        self.judge(&reached.group, reached.index, judgement.into(), times);
    }

    /// Watches the try that `reached` is for, whose time is up at `ends`.
    pub fn watch(&self, reached: &Reached, ends: Option<Instant>) -> Watch<'_> {
        Watch {
            context: self,
            group: Rc::clone(&reached.group),
            index: reached.index,
            started: reached.started,
            ends,
            settled: false,
        }
    }

    pub(super) fn observe(
        &self,
        group: &Group,
        index: usize,
        outcome: AttemptOutcome,
        (latency, now): (Duration, Instant),
    ) {
        let upstream = self.upstream.borrow();
        let change = upstream.observe(group, index, outcome, latency, now);
        let backend = group.backend();
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
        if group.takes_outliers_out() {
            self.judge(group, index, outcome, (latency, now));
        }
    }

    fn judge(
        &self,
        group: &Group,
        index: usize,
        outcome: AttemptOutcome,
        times: (Duration, Instant),
    ) {
        let backend = group.backend();
        let upstream = self.upstream.borrow();
        for ejected in upstream.judge(group, index, outcome, times) {
            let Some(endpoint) = backend.endpoints.get(ejected.index) else {
                continue;
            };
            self.shared.telemetry().ejection(&Ejection {
                backend: &backend.name.to_string(),
                endpoint: endpoint.address,
                reason: ejected.cause.as_str(),
                duration: ejected.duration,
            });
        }
    }

    /// Takes a connection back after an exchange; it is kept only if it can carry another.
    pub fn give_back(&self, reached: Reached, reuse: bool) {
        let (Upstream::Http1(connection), Some(mut place)) = (reached.leg, reached.place) else {
            return;
        };
        if !reuse || !connection.is_clean() || self.shared.drain.is_draining() {
            return;
        }
        let now = Instant::now();
        let mut idle = reached.group.backend().settings.pool_idle.value;
        if let Some(ends) = reached.ends {
            idle = idle.min(ends.saturating_duration_since(now));
            if idle.is_zero() {
                return;
            }
        }
        let wanted = (place.limit().waiting() > 0).then(|| Arc::clone(place.limit()));
        if wanted.is_some() && place.is_wanted_elsewhere(self.index) {
            return;
        }
        place.rest(self.index);
        let kept = Kept {
            connection,
            place,
            ends: reached.ends,
        };
        self.pool.borrow_mut().checkin(reached.key, kept, idle, now);
        if let Some(limit) = wanted {
            limit.ring();
        }
    }

    /// Starts HTTP/2 on a connection of which nothing was used, to be shared from now on.
    pub async fn share(&self, reached: Reached) {
        if let (Upstream::Http1(connection), Some(place)) = (reached.leg, reached.place) {
            let dialled = Dialled {
                stream: connection.into_inner().0,
                place,
                ends: reached.ends,
                idle: reached.group.backend().settings.pool_idle.value,
                limit: reached.group.backend().settings.connect_timeout.value,
            };
            self.streams.adopt(&reached.key, dialled).await;
        }
    }

    /// Addresses of a host outside the mesh, as a backend.
    ///
    /// # Errors
    /// The host does not resolve.
    pub async fn resolve_outside(&self, host: &str, port: u16) -> Result<Arc<BackendTable>, Error> {
        let failed = |error: io::Error| Error::upstream(Kind::ConnectFailed).because(error);
        let addresses = tokio::net::lookup_host((host, port))
            .await
            .map_err(failed)?;
        let name = outside_name().ok_or_else(|| Error::internal(Kind::BadConfiguration))?;
        let mut backend = plain_backend(name, addresses);
        if let Some(backend) = Arc::get_mut(&mut backend) {
            backend.backend.settings.connect_timeout = Sourced::default_value(OUTSIDE_CONNECT);
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
) -> Arc<BackendTable> {
    let endpoint = |address| Endpoint {
        address,
        workload: None,
        transport: Transport::Plain,
        weight: 100,
        stale: false,
        locality: None,
    };
    let endpoints = addresses.into_iter().map(endpoint).collect();
    let settings = mesh_api::model::policy::BackendSettings::default();
    Arc::new(BackendTable::from(Backend {
        name,
        protocol: mesh_api::model::destination::Protocol::Http,
        settings,
        endpoints,
    }))
}

fn kind_of(error: &ConnectError) -> Kind {
    match error {
        ConnectError::Timeout(_) | ConnectError::Tunnel(TunnelError::ConnectTimeout) => {
            Kind::ConnectTimeout
        }
        ConnectError::Tunnel(TunnelError::WrongIdentity { .. }) => Kind::WrongIdentity,
        ConnectError::Tunnel(TunnelError::Refused { reason, .. }) => {
            let mut parts = reason.iter().flat_map(|reason| reason.split(';'));
            let reason = parts.find_map(|part| part.trim().strip_prefix("reason="));
            match reason {
                Some("denied") => Kind::Denied,
                Some(ratelimit::REASON) => Kind::RateLimited,
                _ => Kind::RefusedUnsent,
            }
        }
        ConnectError::Tcp { .. } | ConnectError::NoIdentity | ConnectError::Tunnel(_) => {
            Kind::ConnectFailed
        }
    }
}
