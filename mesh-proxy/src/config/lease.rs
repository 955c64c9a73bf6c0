//! The workload's lease: starts once the app accepts connections, is refreshed within its time, and
//! is given back at the end.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use mesh_api::wire::generated::{DeregisterRequest, Label, NamedPort, RegisterRequest};
use tokio::net::TcpStream;
use tonic::Code;
use tonic::transport::Channel;

use crate::bootstrap::{Bootstrap, Registration};
use crate::config::status::LeaseStatus;
use crate::config::{Shared, connect};

/// Between tries to reach the app.
const POLL: Duration = Duration::from_millis(50);
/// Time for one call.
const CALL: Duration = Duration::from_secs(2);
/// Waits between failed calls, first and largest.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// Longest time between refreshes, whatever the lease.
const MAX_PERIOD: Duration = Duration::from_hours(1);

/// What is registered.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    request: RegisterRequest,
    probes: Vec<SocketAddr>,
}

impl Lease {
    /// The lease `bootstrap` asks for, if any.
    pub(super) fn of(bootstrap: &Bootstrap) -> Option<Self> {
        let registration = bootstrap.registration.as_ref()?;
        Some(Self {
            request: request(bootstrap, registration),
            probes: probes(registration, bootstrap.app_at(bootstrap.address)),
        })
    }

    /// Keeps the lease until it is given back.
    pub(super) async fn keep(self, shared: Arc<Shared>) {
        let mut ended = shared.lease_ended.subscribe();
        tokio::select! {
            _ = ended.wait_for(|ended| *ended) => {}
            () = self.hold(&shared) => {}
        }
    }

    async fn hold(&self, shared: &Shared) {
        shared.facts().lease = LeaseStatus::WaitingForApp;
        for probe in &self.probes {
            while !accepts(*probe).await {
                tokio::time::sleep(POLL).await;
            }
        }
        shared.facts().lease = LeaseStatus::Registering;
        let mut channels = shared.channel.subscribe();
        let mut wait = RETRY.0;
        loop {
            // A new connection may be to a control plane that lost the lease: tell it at once.
            let channel = channels.borrow_and_update().clone();
            let pause = match channel {
                None => MAX_PERIOD,
                Some(channel) => {
                    if let Some(period) = self.register(shared, channel).await {
                        wait = RETRY.0;
                        period
                    } else {
                        wait = (wait * 2).min(RETRY.1);
                        wait.mul_f64(0.5 + fastrand::f64() / 2.0)
                    }
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                changed = channels.changed() => if changed.is_err() { return },
            }
        }
    }

    /// The time to the next refresh; `None` if this one failed.
    async fn register(&self, shared: &Shared, channel: Channel) -> Option<Duration> {
        let mut client = connect::client(channel);
        let call = client.register(self.request.clone());
        let answer = match tokio::time::timeout(CALL, call).await {
            Ok(Ok(answer)) => answer.into_inner(),
            Ok(Err(status)) => {
                if is_refusal(status.code()) {
                    let reason = status.message().to_owned();
                    tracing::error!(reason, "registration refused");
                    shared.facts().lease = LeaseStatus::Refused { reason };
                }
                return None;
            }
            Err(_) => return None,
        };
        let held = LeaseStatus::Held {
            seconds: answer.lease_seconds,
            shadowed_by_file: answer.shadowed_by_file,
        };
        let before = std::mem::replace(&mut shared.facts().lease, held.clone());
        if before != held {
            tracing::info!(workload = %shared.workload, seconds = answer.lease_seconds, shadowed = answer.shadowed_by_file, "registered");
        }
        let seconds = u64::from(answer.lease_seconds.max(1));
        Some((Duration::from_secs(seconds) / 3).min(MAX_PERIOD))
    }
}

/// Gives the lease back, if one is held.
pub(super) async fn end(shared: &Shared) {
    shared.lease_ended.send_replace(true);
    let before = std::mem::replace(&mut shared.facts().lease, LeaseStatus::Ended);
    let channel = shared.channel.borrow().clone();
    let (LeaseStatus::Held { .. }, Some(channel)) = (before, channel) else {
        return;
    };
    let mut client = connect::client(channel);
    let request = DeregisterRequest {
        name: shared.workload.name.to_string(),
    };
    match tokio::time::timeout(CALL, client.deregister(request)).await {
        Ok(Ok(_)) => {}
        Ok(Err(status)) => tracing::warn!(reason = status.message(), "lease not given back"),
        Err(_) => tracing::warn!("lease not given back in time; it runs out by itself"),
    }
}

fn request(bootstrap: &Bootstrap, registration: &Registration) -> RegisterRequest {
    let label = |(key, value): (&String, &String)| Label {
        key: key.clone(),
        value: value.clone(),
    };
    let port = |(name, port): (&String, &u16)| NamedPort {
        name: name.clone(),
        port: u32::from(*port),
    };
    RegisterRequest {
        name: bootstrap.workload.name.to_string(),
        address: bootstrap.address.to_string(),
        labels: registration.labels.iter().map(label).collect(),
        ports: registration.ports.iter().map(port).collect(),
        tunnel_port: u32::from(registration.tunnel_port),
        weight: registration.weight,
    }
}

fn probes(registration: &Registration, app: IpAddr) -> Vec<SocketAddr> {
    let ports = registration.ports.values();
    let ports = ports.filter(|_| registration.lease_probe);
    ports.map(|port| SocketAddr::new(app, *port)).collect()
}

async fn accepts(address: SocketAddr) -> bool {
    let connected = tokio::time::timeout(CALL, TcpStream::connect(address)).await;
    matches!(connected, Ok(Ok(_)))
}

fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::PermissionDenied
            | Code::InvalidArgument
            | Code::FailedPrecondition
            | Code::AlreadyExists
            | Code::ResourceExhausted
    )
}
