//! The process on each node: keeps the plug-in in place, answers it, and writes the rules of pods that
//! it was not called for.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mesh_cni::{Answer, Question, SOCKET};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::kubernetes::Api;
use super::place;
use super::pods::Pod;
use crate::capture::{Rules, apply_in};

/// The node's file system, through a process of it.
const HOST: &str = "/proc/1/root";
/// A handle of the node's own network.
const HOST_NETWORK: &str = "/proc/1/ns/net";
/// After a failure to hear a plug-in.
const PAUSE: Duration = Duration::from_secs(1);
/// Between looks at the node's pods.
const REPAIR: Duration = Duration::from_secs(5);
/// Questions answered at once, and the longest.
const MAX_QUESTIONS: usize = 64;
const MAX_QUESTION: u64 = 64 * 1024;
/// Time for a plug-in to ask.
const PATIENCE: Duration = Duration::from_secs(5);

/// Serves until `shutdown`.
///
/// # Errors
/// It cannot start: no cluster around it, or no socket.
pub(crate) async fn run(
    shutdown: impl Future<Output = ()>,
) -> Result<(), Box<dyn std::error::Error>> {
    let api = Api::of_pod(|name| std::env::var(name).ok())?;
    let listener = bind(Path::new(SOCKET)).map_err(|error| format!("{SOCKET}: {error}"))?;
    let mut tasks = JoinSet::new();
    tasks.spawn(answer_all(listener, api.clone()));
    tasks.spawn(repair_all(api));
    tasks.spawn(place::keep());
    shutdown.await;
    tasks.shutdown().await;
    place::remove();
    Ok(())
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn answer_all(listener: UnixListener, api: Api) {
    let mut questions = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                while questions.len() >= MAX_QUESTIONS {
                    questions.join_next().await;
                }
                while questions.try_join_next().is_some() {}
                questions.spawn(answer(stream, api.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "a plug-in was not heard");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn answer(stream: UnixStream, api: Api) {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(read.take(MAX_QUESTION));
    let asked = tokio::time::timeout(PATIENCE, reader.read_line(&mut line)).await;
    let question = serde_json::from_str::<Question>(&line);
    let (Ok(Ok(_)), Ok(question)) = (asked, question) else {
        return;
    };
    let answer = decide(&api, &question).await;
    if let Answer::Failed(reason) = &answer {
        let pod = format!("{}/{}", question.namespace, question.name);
        tracing::warn!(pod, reason, "not captured yet; tried again");
    }
    let Ok(text) = serde_json::to_string(&answer) else {
        return;
    };
    if let Err(error) = write.write_all(format!("{text}\n").as_bytes()).await {
        tracing::debug!(%error, "the plug-in went away");
    }
}

async fn decide(api: &Api, question: &Question) -> Answer {
    match api.pod(&question.namespace, &question.name).await {
        Ok(pod) => {
            let path = question.network.trim_start_matches('/');
            capture(&pod, Path::new(HOST).join(path)).await
        }
        Err(error) => Answer::Failed(error.to_string()),
    }
}

/// Writes the rules of `pod` into the network of that handle.
async fn capture(pod: &Pod, network: PathBuf) -> Answer {
    let exclusions = match pod.wants() {
        None => return Answer::NotOurs,
        Some(Err(reason)) => return Answer::Failed(reason),
        Some(Ok(exclusions)) => exclusions,
    };
    if is_hosts(&network) {
        return Answer::Failed("its network is the node's own".to_owned());
    }
    let rules = Rules::of_pod(&exclusions).text();
    let written = tokio::task::spawn_blocking(move || apply_in(&network, &rules)).await;
    match written {
        Ok(Ok(())) => {
            let pod = format!("{}/{}", pod.metadata.namespace, pod.metadata.name);
            tracing::info!(pod, "captured");
            Answer::Captured
        }
        Ok(Err(error)) => Answer::Failed(error.to_string()),
        Err(error) => Answer::Failed(error.to_string()),
    }
}

/// True if `network` is a handle of the node's own, in which nothing is ever captured; also where that
/// cannot be told.
fn is_hosts(network: &Path) -> bool {
    let number = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino()));
    match (number(Path::new(HOST_NETWORK)), number(network)) {
        (Ok(host), Ok(other)) => host == other,
        _ => true,
    }
}

/// Writes the rules of pods whose proxy is not ready: the plug-in was not called for them, or somebody took
/// them away. Writing them twice changes nothing.
async fn repair_all(api: Api) {
    let mut was_reached = true;
    loop {
        match api.pods().await {
            Ok(pods) => {
                was_reached = true;
                for pod in pods.iter().filter(|pod| pod.may_miss_rules()) {
                    repair(pod).await;
                }
            }
            Err(error) => {
                if was_reached {
                    tracing::warn!(%error, "pods that were missed are not found for now");
                }
                was_reached = false;
            }
        }
        tokio::time::sleep(REPAIR).await;
    }
}

async fn repair(pod: &Pod) {
    if pod.wants().is_none() {
        return;
    }
    let name = format!("{}/{}", pod.metadata.namespace, pod.metadata.name);
    let Some(network) = pod.network() else {
        return tracing::debug!(pod = name, "has no process yet");
    };
    if let Answer::Failed(reason) = capture(pod, network).await {
        tracing::error!(pod = name, reason, "not captured; its app does not start");
    }
}
