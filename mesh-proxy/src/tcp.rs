//! Opaque connections: connect, carry bytes both ways, record.
//!
//! Each direction ends by itself: an end is passed on as an end, a reset as a reset. There is an idle
//! limit only where a policy sets one. May use everything above it in the crate's list.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use mesh_api::model::policy::RetryPolicy;
use mesh_api::name::{DestinationName, Identity, ObjectName};
use mesh_api::snapshot::BackendTable;
use tokio::io::AsyncWrite;

use crate::attempt::{self, Tries};
use crate::buffer::Fill;
use crate::context::{Context, Reached};
use crate::copy::{self, Broken, Carried};
use crate::error::Kind;
use crate::telemetry::{ConnectionEvent, Direction, SeriesKey};
use crate::tunnel::Hint;
use crate::upstream::Reset;

/// The reason of a connection that a drain cut.
const DRAINED: &str = "drained";

/// A connection to be carried, with what its record needs.
pub struct Passage<T> {
    /// The peer that connected to us.
    pub downstream: T,
    /// What was read of it already.
    pub first: BytesMut,
    /// What is known of it.
    pub facts: Facts,
}

/// What is known of an opaque connection.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Which way it goes.
    pub direction: Direction,
    /// What it was dialled as.
    pub destination: DestinationName,
    /// The rule that matched, if there was one to match.
    pub rule: Option<(ObjectName, u32)>,
    /// Who is downstream, if authenticated.
    pub peer: Option<Identity>,
    /// What is spoken.
    pub hint: Hint,
    /// The server name of its `ClientHello`, where that was read.
    pub server_name: Option<String>,
    /// When it was accepted.
    pub started: Instant,
}

/// What came of one, for its record.
#[derive(Default)]
struct Outcome {
    backend: Option<Arc<BackendTable>>,
    endpoint: Option<SocketAddr>,
    attempts: u32,
    reached: bool,
    carried: Carried,
    reason: Option<&'static str>,
}

impl Facts {
    /// Facts of a connection that begins now.
    pub fn new(direction: Direction, destination: DestinationName, hint: Hint) -> Self {
        Self {
            direction,
            destination,
            rule: None,
            peer: None,
            hint,
            server_name: None,
            started: Instant::now(),
        }
    }
}

/// Reaches some endpoint of `backend` and carries the connection there; resets it if none is reached.
/// Where one cannot be connected to, others are tried as `policy` has it.
pub async fn connect<T>(
    context: &Rc<Context>,
    backend: &Arc<BackendTable>,
    policy: Option<&RetryPolicy>,
    passage: Passage<T>,
) where
    T: Fill + AsyncWrite + Reset,
{
    let mut tries = Tries::default();
    let hint = passage.facts.hint;
    match attempt::connect(context, backend, hint, policy, &mut tries).await {
        Ok(reached) => carry(context, reached, tries.count, passage).await,
        Err(error) => {
            let outcome = Outcome {
                backend: Some(Arc::clone(backend)),
                endpoint: tries.endpoints.last().copied(),
                attempts: tries.count,
                ..Outcome::default()
            };
            tracing::debug!(destination = %passage.facts.destination, ?error, "nothing is reached");
            let reason = error.kind.reason();
            end(context, passage.downstream, &passage.facts, outcome, reason);
        }
    }
}

/// Resets a connection that may not go on, and records why.
pub fn refuse<T: Reset>(context: &Context, downstream: T, facts: &Facts, reason: &'static str) {
    end(context, downstream, facts, Outcome::default(), reason);
}

fn end<T: Reset>(
    context: &Context,
    downstream: T,
    facts: &Facts,
    mut outcome: Outcome,
    reason: &'static str,
) {
    downstream.reset();
    outcome.reason = Some(reason);
    record(context, facts, &outcome);
}

/// Carries the connection to an endpoint that `attempts` tries reached.
pub async fn carry<T>(context: &Rc<Context>, reached: Reached, attempts: u32, passage: Passage<T>)
where
    T: Fill + AsyncWrite + Reset,
{
    let Passage {
        mut downstream,
        first,
        facts,
    } = passage;
    let mut outcome = Outcome {
        endpoint: reached.endpoint(),
        backend: Some(Arc::clone(reached.backend())),
        attempts,
        reached: true,
        ..Outcome::default()
    };
    let backend = Arc::clone(reached.backend());
    let Some((mut upstream, counted)) = reached.into_stream() else {
        // Bytes are never sent on a connection that is shared.
        let reason = Kind::UnsupportedProtocol.reason();
        return end(context, downstream, &facts, outcome, reason);
    };
    context.shard.tcp_opened(context.shard.series(SeriesKey {
        direction: facts.direction,
        destination: Some(&facts.destination),
        backend: Some(&backend.name),
    }));
    let mut drain = context.shared.drain.clone();
    let copied = copy::both(
        &mut downstream,
        &mut upstream,
        (first, BytesMut::new()),
        &mut outcome.carried,
        backend.settings.tcp_idle.value,
    );
    let copied = tokio::select! {
        copied = copied => copied.map_err(|broken| match broken {
            Broken::Downstream => Kind::DownstreamGone.reason(),
            Broken::Upstream => Kind::Reset.reason(),
            Broken::Idle => Kind::IdleTimeout.reason(),
        }),
        () = drain.cut() => Err(DRAINED),
    };
    if let Err(reason) = copied {
        // What broke on one leg must not look like an end on the other.
        downstream.reset();
        upstream.reset();
        outcome.reason = Some(reason);
    }
    drop(counted);
    record(context, &facts, &outcome);
}

/// One line and one count per connection, whatever came of it.
fn record(context: &Context, facts: &Facts, outcome: &Outcome) {
    let event = ConnectionEvent {
        direction: facts.direction,
        destination: &facts.destination,
        backend: outcome.backend.as_ref().map(|backend| &backend.name),
        endpoint: outcome.endpoint,
        route: facts.rule.as_ref().map(|(route, index)| (route, *index)),
        peer: facts.peer.as_ref(),
        protocol: facts.hint.as_str(),
        server_name: facts.server_name.as_deref(),
        reached: outcome.reached,
        reason: outcome.reason,
        attempts: outcome.attempts,
        bytes_in: outcome.carried.sent,
        bytes_out: outcome.carried.received,
        duration: facts.started.elapsed(),
    };
    let series = context.shard.series(SeriesKey {
        direction: event.direction,
        destination: Some(event.destination),
        backend: event.backend,
    });
    context.shard.connection(series, &event);
}
