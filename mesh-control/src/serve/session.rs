//! One proxy's `Deliver` stream, from its hello to its end. May use `subscriptions` and `proxies`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mesh_api::name::ObjectName;
use mesh_api::wire::generated as wire;
use tokio::sync::{mpsc, oneshot, watch};
use tonic::{Status, Streaming};
use wire::control_message::Kind as Down;
use wire::proxy_message::Kind as Up;

use crate::ca::Authority;
use crate::publish::Publisher;
use crate::serve::peer::Certified;
use crate::serve::proxies::{Answer, Ask, Proxies, Seat};
use crate::serve::subscriptions::{Subscriptions, Violation};
use crate::telemetry;

/// What every session uses.
#[derive(Clone)]
pub struct Shared {
    /// Entries.
    pub publisher: Arc<Publisher>,
    /// Who is connected.
    pub proxies: Arc<Proxies>,
    /// Roots.
    pub authority: Arc<Authority>,
    /// Counts changes of the trusted roots.
    pub roots: watch::Receiver<u64>,
    /// True once the control plane stops.
    pub stopping: watch::Receiver<bool>,
}

/// A stream that waits for its hello.
pub struct Session {
    /// What every session uses.
    pub shared: Shared,
    /// The caller's certificate.
    pub peer: Certified,
    /// Messages of the proxy.
    pub up: Streaming<wire::ProxyMessage>,
    /// Messages to the proxy.
    pub down: mpsc::Sender<Result<wire::ControlMessage, Status>>,
}

impl Session {
    /// Serves the stream to its end.
    pub async fn run(mut self) {
        let outcome = match self.greet().await {
            Ok(hello) => self.serve(hello).await,
            Err(status) => Err(status),
        };
        if let Err(status) = outcome {
            // A proxy that does not read any more learns nothing.
            drop(self.down.try_send(Err(status)));
        }
    }

    /// Waits for the hello and checks whom it speaks for.
    async fn greet(&mut self) -> Result<(ObjectName, wire::Hello), Status> {
        let first = tokio::time::timeout(HELLO_TIME, self.up.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no hello within 10 s"))??;
        let Some(Up::Hello(hello)) = first.and_then(|message| message.kind) else {
            return Err(Status::invalid_argument(
                "the first message must be a hello",
            ));
        };
        let workload: ObjectName = hello
            .workload
            .parse()
            .map_err(|error| Status::invalid_argument(format!("workload: {error}")))?;
        let identity = &self.peer.identity;
        let account = self
            .shared
            .publisher
            .read(|index| index.service_account(&workload));
        let own = workload.namespace == identity.namespace
            && account.is_none_or(|account| account == identity.service_account);
        if !own {
            return Err(Status::permission_denied(format!(
                "workload {workload} is not of {identity}"
            )));
        }
        Ok((workload, hello))
    }

    async fn serve(&mut self, (workload, hello): (ObjectName, wire::Hello)) -> Result<(), Status> {
        let build: String = hello.build.chars().take(100).collect();
        let identity = self.peer.identity.clone();
        let publisher = Arc::clone(&self.shared.publisher);
        let subscriptions = Subscriptions::resume(publisher, identity.clone(), hello.held)
            .map_err(|violation| refuse(&violation))?;
        telemetry::record_connected(&workload.to_string(), &identity.to_string(), &build);
        let seat = self.shared.proxies.connect(&workload, &identity, &build);
        let connection = seat.connection;
        let mut stream = Stream {
            workload,
            connection,
            subscriptions,
            asked: HashMap::new(),
            next_ask: 0,
        };
        let outcome = self.deliver(&mut stream, seat).await;
        let reason = outcome.as_ref().err().map_or("closed", Status::message);
        telemetry::record_disconnected(&stream.workload.to_string(), reason);
        self.shared.proxies.disconnect(&stream.workload, connection);
        outcome
    }

    async fn deliver(&mut self, stream: &mut Stream, mut seat: Seat) -> Result<(), Status> {
        let mut generations = self.shared.publisher.generations();
        let mut roots = self.shared.roots.clone();
        let mut stopping = self.shared.stopping.clone();
        let left = self.peer.not_after.duration_since(SystemTime::now());
        let end = tokio::time::sleep(left.unwrap_or_default());
        tokio::pin!(end);
        self.send_roots().await?;
        loop {
            self.flush(stream).await?;
            tokio::select! {
                message = self.up.message() => match message? {
                    Some(message) => self.take(message, stream)?,
                    None => return Ok(()),
                },
                changed = generations.changed() => changed.map_err(|_| stopped())?,
                changed = roots.changed() => {
                    changed.map_err(|_| stopped())?;
                    self.send_roots().await?;
                }
                Some(ask) = seat.asks.recv() => {
                    let request = stream.note(ask);
                    self.send(Down::AdminRequest(request)).await?;
                }
                () = seat.replaced.notified() => {
                    return Err(Status::aborted("a newer connection of this workload took over"));
                }
                () = &mut end => {
                    return Err(Status::unauthenticated("the certificate has ended: connect again"));
                }
                () = until_stopped(&mut stopping) => return Err(stopped()),
                () = self.down.closed() => return Ok(()),
            }
        }
    }

    /// Takes one message of the proxy.
    fn take(&self, message: wire::ProxyMessage, stream: &mut Stream) -> Result<(), Status> {
        match message.kind {
            Some(Up::Subscribe(change)) => stream
                .subscriptions
                .change(&change)
                .map_err(|violation| refuse(&violation)),
            Some(Up::Acknowledge(answer)) => {
                for refusal in &answer.refused {
                    stream.record(refusal);
                }
                stream
                    .subscriptions
                    .acknowledge(&answer)
                    .map_err(|violation| refuse(&violation))
            }
            Some(Up::AdminReply(reply)) => {
                stream.answer(reply);
                Ok(())
            }
            Some(Up::Report(report)) => {
                self.shared
                    .proxies
                    .set_report(&stream.workload, stream.connection, report);
                Ok(())
            }
            Some(Up::Hello(_)) => Err(Status::invalid_argument("a second hello")),
            None => Err(Status::unimplemented("a message of an unknown kind")),
        }
    }

    /// Sends the next batch if there is one, and notes where the proxy stands.
    async fn flush(&self, stream: &mut Stream) -> Result<(), Status> {
        let batch = stream.subscriptions.next_batch(Instant::now());
        self.shared.proxies.set_entries(
            &stream.workload,
            stream.connection,
            stream.subscriptions.entries(),
        );
        match batch {
            Some(batch) => self.send(Down::Batch(batch)).await,
            None => Ok(()),
        }
    }

    async fn send_roots(&self) -> Result<(), Status> {
        let roots = self.shared.authority.roots();
        let roots = roots.iter().map(|root| root.to_vec()).collect();
        self.send(Down::Roots(wire::Roots { roots })).await
    }

    async fn send(&self, kind: Down) -> Result<(), Status> {
        let message = wire::ControlMessage { kind: Some(kind) };
        tokio::time::timeout(SEND_TIME, self.down.send(Ok(message)))
            .await
            .map_err(|_| Status::deadline_exceeded("the proxy does not read"))?
            .map_err(|_| Status::cancelled("the stream is closed"))
    }
}

/// A stream past its hello.
struct Stream {
    workload: ObjectName,
    connection: u64,
    subscriptions: Subscriptions,
    asked: HashMap<u64, oneshot::Sender<Answer>>,
    next_ask: u64,
}

impl Stream {
    /// Remembers who asked, and makes the request to pass on.
    fn note(&mut self, ask: Ask) -> wire::AdminRequest {
        self.asked.retain(|_, answer| !answer.is_closed());
        self.next_ask += 1;
        self.asked.insert(self.next_ask, ask.answer);
        wire::AdminRequest {
            id: self.next_ask,
            path: ask.path,
            body: ask.body,
        }
    }

    fn answer(&mut self, reply: wire::AdminReply) {
        let status = u16::try_from(reply.status).unwrap_or(502);
        if let Some(answer) = self.asked.remove(&reply.id) {
            let body = reply.body;
            // Who asked may have given up.
            drop(answer.send(Answer { status, body }));
        }
    }

    fn record(&self, refusal: &wire::Refusal) {
        let faults: Vec<String> = refusal
            .faults
            .iter()
            .take(8)
            .map(|fault| format!("{}: {}", fault.path, fault.reason))
            .collect();
        telemetry::record_nack(
            &self.workload.to_string(),
            &refusal.name,
            &faults.join("; "),
        );
    }
}

fn refuse(violation: &Violation) -> Status {
    match violation {
        Violation::TooMany => Status::resource_exhausted(violation.to_string()),
        Violation::BadName(_) | Violation::BadNonce(_) => {
            Status::invalid_argument(violation.to_string())
        }
    }
}

async fn until_stopped(stopping: &mut watch::Receiver<bool>) {
    drop(stopping.wait_for(|stopping| *stopping).await);
}

fn stopped() -> Status {
    Status::unavailable("the control plane is stopping")
}

const HELLO_TIME: Duration = Duration::from_secs(10);
/// A proxy that reads nothing for this long is given up.
const SEND_TIME: Duration = Duration::from_secs(30);
