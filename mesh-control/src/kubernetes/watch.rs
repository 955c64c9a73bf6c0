//! Follows one kind: a list, streamed where the API server can, then a watch with bookmarks that
//! goes on where it was; a new list only where the API server has forgotten that place.
//!
//! May use `topic`, `object` and `backoff`.

use futures_util::{StreamExt as _, pin_mut};
use kube::Api;
use kube::runtime::watcher::{self, Config, Event, watcher};
use tokio::sync::mpsc;

use crate::kubernetes::backoff::Backoff;
use crate::kubernetes::object::Object;
use crate::kubernetes::reason;
use crate::kubernetes::topic::{Item, Topic};

/// What a watch tells.
#[derive(Debug)]
pub(super) enum News {
    /// All there is: whatever else was there is gone.
    All(Topic, Vec<Item>),
    /// One that is new, changed or gone.
    One(Topic, Item),
    /// The API server cannot be asked now, and why; what was told stays.
    Failing(Topic, String),
}

/// Follows `topic` until nobody listens.
pub(super) async fn follow(api: Api<Object>, topic: Topic, news: mpsc::Sender<News>) {
    let mut config = Config::default().streaming_lists();
    let mut backoff = Backoff::default();
    loop {
        let events = watcher(api.clone(), config.clone());
        pin_mut!(events);
        let mut found = Vec::new();
        while let Some(event) = events.next().await {
            let told = match event {
                Ok(Event::Init) => {
                    found.clear();
                    continue;
                }
                Ok(Event::InitApply(object)) => {
                    found.extend(topic.present(object));
                    continue;
                }
                Ok(Event::InitDone) => Some(News::All(topic, std::mem::take(&mut found))),
                Ok(Event::Apply(object)) => {
                    topic.present(object).map(|item| News::One(topic, item))
                }
                Ok(Event::Delete(object)) => {
                    topic.absent(&object).map(|item| News::One(topic, item))
                }
                Err(error) if cannot_stream(&error) => {
                    config = Config::default();
                    break;
                }
                Err(error) => {
                    let told = News::Failing(topic, text(&error));
                    if news.send(told).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(backoff.next(fastrand::f64())).await;
                    continue;
                }
            };
            backoff.reset();
            if let Some(told) = told
                && news.send(told).await.is_err()
            {
                return;
            }
        }
    }
}

/// True if the API server does not know streamed lists: it names their field as wrong.
fn cannot_stream(error: &watcher::Error) -> bool {
    let watcher::Error::WatchStartFailed(kube::Error::Api(status)) = error else {
        return false;
    };
    matches!(status.code, 400 | 422) && status.message.contains("sendInitialEvents")
}

fn text(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => reason(error),
        watcher::Error::WatchError(status) => status.message.clone(),
        watcher::Error::NoResourceVersion => error.to_string(),
    }
}
