//! One stream: Hello with what is held, then batches down, acknowledgements and reports up.

use std::time::Duration;

use mesh_api::model::entry::EntryName;
use mesh_api::wire::features::KNOWN;
use mesh_api::wire::generated::control_message::Kind as Down;
use mesh_api::wire::generated::proxy_message::Kind as Up;
use mesh_api::wire::generated::{
    Acknowledge, AdminReply, AdminRequest, Batch, ControlMessage, Hello, ProxyMessage, Report,
    Subscribe,
};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::config::connect::{self, ConnectError};
use crate::config::credential::{self, CredentialError};
use crate::config::task::{AdminAnswer, AdminHandler, ControlTask};
use crate::identity::Credentials;

/// Messages that may wait for the control plane to read; more means that it does not.
const MAX_WAITING: usize = 256;
/// Between reports without a change.
const REPORT: Duration = Duration::from_secs(10);
/// How long changes gather before they are written to disk.
const SAVE: Duration = Duration::from_millis(500);
/// Time to the stream's first answer.
const OPEN: Duration = Duration::from_secs(5);
/// Names in one message.
const MAX_NAMES: usize = 10_000;
/// Bytes of an admin answer; the control plane reads messages of up to 4 MiB.
const MAX_ANSWER: usize = 3 * 1024 * 1024;

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Credential(#[from] CredentialError),
    #[error("the certificate has ended, and there is no join token to get a new one with")]
    Expired,
    #[error("refused: {}", .0.message())]
    Refused(#[from] tonic::Status),
    #[error("no answer in time")]
    Late,
    #[error("the control plane does not read")]
    Stuck,
    #[error("the control plane closed the stream")]
    Closed,
}

/// An open stream.
pub(super) struct Session {
    up: mpsc::Sender<ProxyMessage>,
    down: Streaming<ControlMessage>,
    credentials: watch::Receiver<Option<std::sync::Arc<Credentials>>>,
    save_at: Option<Instant>,
}

/// What comes next on a stream.
enum Event {
    Message(Result<Option<ControlMessage>, tonic::Status>),
    Asked,
    Report,
    Save,
}

impl Session {
    /// Opens the stream and says what is held.
    pub(super) async fn open(
        task: &mut ControlTask,
        channel: Channel,
    ) -> Result<Self, SessionError> {
        let (up, waiting) = mpsc::channel(MAX_WAITING);
        let gone = task.shared.interest().take_changes().remove;
        task.forget(&gone);
        let names = task.shared.interest().all();
        let hello = Hello {
            workload: task.shared.workload.to_string(),
            build: mesh_api::version().to_owned(),
            features: KNOWN.iter().map(ToString::to_string).collect(),
            held: task.held.versions(names),
        };
        send(&up, Up::Hello(hello))?;
        let mut client = connect::client(channel);
        let stream = client.deliver(ReceiverStream::new(waiting));
        let stream = tokio::time::timeout(OPEN, stream).await;
        Ok(Self {
            up,
            down: stream.map_err(|_| SessionError::Late)??.into_inner(),
            credentials: task.shared.identity.watch(),
            save_at: None,
        })
    }

    /// Runs until the stream breaks.
    pub(super) async fn run(
        mut self,
        task: &mut ControlTask,
        admin: &AdminHandler,
    ) -> SessionError {
        let mut reports = tokio::time::interval(REPORT);
        reports.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let event = self.next(task, &mut reports).await;
            let handled = match event {
                Event::Message(Ok(Some(message))) => self.message(task, admin, message),
                Event::Message(Ok(None)) => Err(SessionError::Closed),
                Event::Message(Err(status)) => Err(status.into()),
                Event::Asked => self.subscribe(task),
                Event::Report => self.report(task),
                Event::Save => {
                    self.save_at = None;
                    task.save();
                    Ok(())
                }
            };
            if let Err(error) = handled {
                return error;
            }
        }
    }

    async fn next(&mut self, task: &ControlTask, reports: &mut tokio::time::Interval) -> Event {
        let save_at = self.save_at;
        let save = async {
            match save_at {
                Some(time) => tokio::time::sleep_until(time).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            message = self.down.message() => Event::Message(message),
            () = task.shared.asked.notified() => Event::Asked,
            _ = reports.tick() => Event::Report,
            Ok(()) = self.credentials.changed() => Event::Report,
            () = save => Event::Save,
        }
    }

    fn message(
        &mut self,
        task: &mut ControlTask,
        admin: &AdminHandler,
        message: ControlMessage,
    ) -> Result<(), SessionError> {
        match message.kind {
            Some(Down::Batch(batch)) => self.batch(task, batch),
            Some(Down::Roots(roots)) => {
                credential::take_roots(&task.shared, roots, &task.folder);
                Ok(())
            }
            Some(Down::AdminRequest(request)) => self.admin(admin, &request),
            // A kind of a newer control plane: entries it cannot do without name a feature.
            None => Ok(()),
        }
    }

    fn batch(&mut self, task: &mut ControlTask, batch: Batch) -> Result<(), SessionError> {
        let nonce = batch.nonce;
        let refused = task.apply(batch);
        if task.is_dirty && self.save_at.is_none() {
            self.save_at = Some(Instant::now() + SAVE);
        }
        send(&self.up, Up::Acknowledge(Acknowledge { nonce, refused }))?;
        self.report(task)?;
        self.subscribe(task)
    }

    fn subscribe(&self, task: &mut ControlTask) -> Result<(), SessionError> {
        let changes = task.shared.interest().take_changes();
        task.forget(&changes.remove);
        for part in changes.add.chunks(MAX_NAMES) {
            let (add, remove) = (texts(part), Vec::new());
            send(&self.up, Up::Subscribe(Subscribe { add, remove }))?;
        }
        for part in changes.remove.chunks(MAX_NAMES) {
            let (add, remove) = (Vec::new(), texts(part));
            send(&self.up, Up::Subscribe(Subscribe { add, remove }))?;
        }
        Ok(())
    }

    fn report(&self, task: &ControlTask) -> Result<(), SessionError> {
        let names = task.shared.interest().all();
        let credentials = task.shared.identity.current();
        let report = Report {
            running: task.held.versions(names),
            certificate_not_after: credentials.as_ref().map_or(0, |held| held.not_after()),
            certificate_serial: credentials.map_or_else(String::new, |held| held.serial().into()),
        };
        send(&self.up, Up::Report(report))
    }

    fn admin(&self, admin: &AdminHandler, request: &AdminRequest) -> Result<(), SessionError> {
        let answer = fitting(admin(&request.path, &request.body));
        let reply = AdminReply {
            id: request.id,
            status: u32::from(answer.status),
            body: answer.body,
        };
        send(&self.up, Up::AdminReply(reply))
    }
}

/// An answer too large for a message would end the stream: the asker is told instead.
fn fitting(answer: AdminAnswer) -> AdminAnswer {
    if answer.body.len() <= MAX_ANSWER {
        return answer;
    }
    let bytes = answer.body.len();
    let reason = format!("the answer has {bytes} bytes, more than {MAX_ANSWER}");
    AdminAnswer {
        status: 413,
        body: serde_json::json!({ "error": reason })
            .to_string()
            .into_bytes(),
    }
}

fn texts(names: &[EntryName]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn send(up: &mpsc::Sender<ProxyMessage>, kind: Up) -> Result<(), SessionError> {
    let message = ProxyMessage { kind: Some(kind) };
    up.try_send(message).map_err(|error| match error {
        mpsc::error::TrySendError::Full(_) => SessionError::Stuck,
        mpsc::error::TrySendError::Closed(_) => SessionError::Closed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_too_large_for_a_message_becomes_a_refusal() {
        for (length, status) in [(MAX_ANSWER, 200), (MAX_ANSWER + 1, 413)] {
            let body = vec![b' '; length];
            let fitted = fitting(AdminAnswer { status: 200, body });
            assert_eq!(fitted.status, status, "{length}");
            assert!(fitted.body.len() <= MAX_ANSWER);
        }
    }
}
