//! A worker: one thread, one single-threaded runtime, its own pools, tunnels and metric shard.
//!
//! May use everything above it but `listener` and `admin`.

use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use std::{io, thread};

use mesh_api::name::{DestinationName, ObjectName, Port};
use socket2::SockRef;
use tokio::runtime::LocalOptions;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::context::{Context, Shared, keep_tidy};
use crate::error::Kind;
use crate::telemetry::{ConnectionRefused, Direction, Shard, Telemetry};
use crate::{drain, inbound, outbound};

/// Accepted connections that wait for a worker; more are closed at once.
const QUEUE: usize = 1024;
/// Open connections of one worker; more are closed at once.
const MAX_CONNECTIONS: usize = 10_000;

/// Tasks that run before sockets are looked at again, where so many are ready: what they have to say to
/// one peer goes out at once.
const TURN: u32 = 256;

/// How long connections get, once a drain cuts, to end as broken rather than as complete.
const LAST_RESETS: Duration = Duration::from_millis(200);

/// What a listener is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Calls of the local workload to one destination.
    Outbound(DestinationName),
    /// Calls of the local workload to the host each request names.
    ForwardProxy,
    /// A plaintext port of a workload.
    Inbound {
        /// Whose port.
        workload: ObjectName,
        /// Which.
        port: Port,
    },
    /// A workload's tunnel port.
    Tunnel(ObjectName),
    /// Calls of the local workload that the system redirects here.
    CapturedOutbound,
    /// Plaintext to a workload that the system redirects here.
    CapturedInbound(ObjectName),
}

impl Role {
    /// Which way its connections go.
    pub fn direction(&self) -> Direction {
        match self {
            Self::Outbound(_) | Self::ForwardProxy | Self::CapturedOutbound => Direction::Outbound,
            Self::Inbound { .. } | Self::Tunnel(_) | Self::CapturedInbound(_) => Direction::Inbound,
        }
    }
}

/// An accepted connection on its way to a worker.
#[derive(Debug)]
pub struct Accepted {
    /// The socket, not blocking.
    pub stream: TcpStream,
    /// Who connected.
    pub peer: SocketAddr,
    /// What for.
    pub role: Role,
}

/// Handles to every worker.
#[derive(Clone)]
pub struct Workers {
    handles: Arc<[Handle]>,
    telemetry: Arc<Telemetry>,
}

struct Handle {
    queue: mpsc::Sender<Accepted>,
    connections: Arc<AtomicUsize>,
}

impl Workers {
    /// Starts `count` workers; each ends after `drain` cuts, or when it drains and has nothing left.
    ///
    /// # Errors
    /// A thread or runtime that cannot be made.
    pub fn start(
        count: usize,
        shared: &Arc<Shared>,
    ) -> io::Result<(Self, Vec<thread::JoinHandle<()>>)> {
        let mut handles = Vec::with_capacity(count);
        let mut threads = Vec::with_capacity(count);
        for index in 0..count {
            let (queue, accepted) = mpsc::channel(QUEUE);
            let connections = Arc::new(AtomicUsize::new(0));
            handles.push(Handle {
                queue,
                connections: Arc::clone(&connections),
            });
            let (shared, drain) = (Arc::clone(shared), shared.drain.clone());
            // Made on its thread, which it does not leave: what went wrong is told from there.
            let (made, told) = std::sync::mpsc::channel();
            let body = move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .event_interval(TURN)
                    .build_local(LocalOptions::default());
                let runtime = match runtime {
                    Ok(runtime) => runtime,
                    // Who starts the workers waits for it.
                    Err(error) => return made.send(Err(error)).unwrap_or_default(),
                };
                made.send(Ok(())).unwrap_or_default();
                let context = Rc::new(Context::new(index, shared));
                runtime.block_on(run(context, accepted, connections, drain));
            };
            let name = format!("worker-{index}");
            threads.push(thread::Builder::new().name(name).spawn(body)?);
            told.recv().map_err(io::Error::other)??;
        }
        let handles = handles.into();
        let telemetry = Arc::clone(shared.telemetry());
        Ok((Self { handles, telemetry }, threads))
    }

    /// Hands a connection to the worker with the fewest; a full one resets it.
    pub fn hand(&self, accepted: Accepted) {
        let least = self
            .handles
            .iter()
            .min_by_key(|handle| handle.connections.load(Ordering::Relaxed));
        let Some(handle) = least else { return };
        if handle.connections.load(Ordering::Relaxed) >= MAX_CONNECTIONS {
            return self.turn_away(&accepted);
        }
        handle.connections.fetch_add(1, Ordering::Relaxed);
        if let Err(full) = handle.queue.try_send(accepted) {
            handle.connections.fetch_sub(1, Ordering::Relaxed);
            self.turn_away(&full.into_inner());
        }
    }

    fn turn_away(&self, accepted: &Accepted) {
        self.telemetry.connection_refused(&ConnectionRefused {
            direction: accepted.role.direction(),
            reason: Kind::OverLimit.reason(),
            peer: Some(accepted.peer),
        });
        let socket = SockRef::from(&accepted.stream);
        if let Err(error) = socket.set_linger(Some(Duration::ZERO)) {
            tracing::debug!(%error, "a connection could not be reset");
        }
    }
}

/// Counts a connection until it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn run(
    context: Rc<Context>,
    mut accepted: mpsc::Receiver<Accepted>,
    connections: Arc<AtomicUsize>,
    mut drain: drain::Watch,
) {
    let mut upkeep = JoinSet::new();
    upkeep.spawn_local(keep_tidy(Rc::clone(&context)));
    let mut tasks = JoinSet::new();
    let mut cut = drain.clone();
    loop {
        tokio::select! {
            next = accepted.recv() => {
                let Some(next) = next else { break };
                let counted = Counted(Arc::clone(&connections));
                let context = Rc::clone(&context);
                tasks.spawn_local(async move {
                    serve(&context, next).await;
                    drop(counted);
                });
            }
            Some(ended) = tasks.join_next() => report(ended),
            () = drain.draining() => break,
        }
    }
    // What was accepted before the drain is still served.
    accepted.close();
    while let Ok(next) = accepted.try_recv() {
        let (counted, context) = (Counted(Arc::clone(&connections)), Rc::clone(&context));
        tasks.spawn_local(async move {
            serve(&context, next).await;
            drop(counted);
        });
    }
    let finish = async {
        while let Some(ended) = tasks.join_next().await {
            report(ended);
        }
    };
    let cut = async {
        cut.cut().await;
        tokio::time::sleep(LAST_RESETS).await;
    };
    tokio::select! {
        () = finish => {}
        () = cut => {}
    }
    tasks.shutdown().await;
}

async fn serve(context: &Rc<Context>, accepted: Accepted) {
    let Accepted { stream, peer, role } = accepted;
    let Ok(stream) = tokio::net::TcpStream::from_std(stream) else {
        return;
    };
    let _open = Open::begin(context, role.direction());
    // Boxed one by one: a connection holds what its own way needs, not what the largest does.
    match role {
        Role::Outbound(name) => {
            let rest = Box::pin(outbound::serve(context, stream, name)).await;
            carry_on(rest).await;
        }
        Role::ForwardProxy => {
            let rest = Box::pin(outbound::serve_forward_proxy(context, stream)).await;
            carry_on(rest).await;
        }
        Role::Inbound { workload, port } => {
            let to = (context.shared.bootstrap.address, port);
            Box::pin(inbound::serve_plain(context, stream, peer, &workload, to)).await;
        }
        Role::Tunnel(workload) => {
            Box::pin(inbound::serve_tunnel(context, stream, peer, &workload)).await;
        }
        Role::CapturedOutbound => {
            let rest = Box::pin(outbound::serve_captured(context, stream, peer)).await;
            carry_on(rest).await;
        }
        Role::CapturedInbound(workload) => {
            Box::pin(inbound::serve_captured(context, stream, peer, &workload)).await;
        }
    }
}

async fn carry_on(rest: Option<outbound::Rest<'_>>) {
    if let Some(rest) = rest {
        rest.await;
    }
}

/// An accepted connection, counted as open until it is dropped.
struct Open<'c> {
    shard: &'c Shard,
    all: &'c AtomicUsize,
    direction: Direction,
}

impl<'c> Open<'c> {
    fn begin(context: &'c Context, direction: Direction) -> Self {
        let shard = &context.shard;
        shard.connection_opened(direction);
        let all = context.shared.open(direction);
        all.fetch_add(1, Ordering::AcqRel);
        Self {
            shard,
            all,
            direction,
        }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.shard.connection_closed(self.direction);
        self.all.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A connection's task that panicked is a defect worth an operator's eye; the worker goes on.
fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection's task panicked");
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;
    use crate::exchange::{self, Scope};

    /// Bytes of the future that `make` returns; it is never called.
    fn size<A, B, F>(_make: impl Fn(A, B) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_idle_connection_holds_little() {
        type Held = &'static Rc<Context>;
        let accepted = size(|context: Held, accepted| serve(context, accepted));
        let dialled = size(|context: Held, (stream, name)| outbound::serve(context, stream, name));
        let exchanges = size(|context: Held, (stream, scope): (_, &'static Scope)| {
            exchange::serve::<TcpStream>(context, stream, scope)
        });
        let sizes = (accepted, dialled, exchanges);
        assert!(
            accepted <= 256 && dialled <= 512 && exchanges <= 576,
            "{sizes:?}"
        );
    }
}
