//! A worker: one thread, one single-threaded runtime, its own pools, tunnels and metric shard.
//!
//! May use everything above it but `listener` and `admin`.

use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{io, thread};

use mesh_api::name::{DestinationName, ObjectName, Port};
use tokio::sync::mpsc;
use tokio::task::{JoinSet, LocalSet};

use crate::context::{Context, Shared, keep_tidy};
use crate::{drain, inbound, outbound};

/// Accepted connections that wait for a worker; more are closed at once.
const QUEUE: usize = 1024;
/// Open connections of one worker; more are closed at once.
const MAX_CONNECTIONS: usize = 10_000;

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
pub struct Workers(Arc<[Handle]>);

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
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let body = move || {
                let context = Rc::new(Context::new(index, shared));
                let tasks = LocalSet::new();
                tasks.block_on(&runtime, run(context, accepted, connections, drain));
            };
            threads.push(
                thread::Builder::new()
                    .name(format!("worker-{index}"))
                    .spawn(body)?,
            );
        }
        Ok((Self(handles.into()), threads))
    }

    /// Hands a connection to the worker with the fewest; a full one closes it.
    pub fn hand(&self, accepted: Accepted) {
        let least = self
            .0
            .iter()
            .min_by_key(|handle| handle.connections.load(Ordering::Relaxed));
        let Some(handle) = least else { return };
        if handle.connections.load(Ordering::Relaxed) >= MAX_CONNECTIONS {
            tracing::debug!(peer = %accepted.peer, "connection closed: too many are open");
            return;
        }
        handle.connections.fetch_add(1, Ordering::Relaxed);
        if handle.queue.try_send(accepted).is_err() {
            handle.connections.fetch_sub(1, Ordering::Relaxed);
            tracing::debug!("connection closed: the worker's queue is full");
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
    tokio::select! {
        () = finish => {}
        () = cut.cut() => {}
    }
    tasks.shutdown().await;
}

async fn serve(context: &Rc<Context>, accepted: Accepted) {
    let Accepted { stream, peer, role } = accepted;
    let Ok(stream) = tokio::net::TcpStream::from_std(stream) else {
        return;
    };
    match role {
        Role::Outbound(name) => outbound::serve(context, stream, &name).await,
        Role::ForwardProxy => outbound::serve_forward_proxy(context, stream).await,
        Role::Inbound { workload, port } => {
            inbound::serve_plain(context, stream, peer, &workload, port).await;
        }
        Role::Tunnel(workload) => inbound::serve_tunnel(context, stream, peer, &workload).await,
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
