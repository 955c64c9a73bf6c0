//! Which kinds the API server has: those that are installed later are followed as soon as they are
//! there, and what a removed one had is forgotten.
//!
//! A kind counts as removed when its definition is gone from a whole list of definitions, never
//! because it was not found once: an API server that starts does not find everything at first.
//! May use `watch`, `topic` and `telemetry`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::{StreamExt as _, pin_mut};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::PartialObjectMeta;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use crate::kubernetes::object::Object;
use crate::kubernetes::topic::Topic;
use crate::kubernetes::watch::{News, follow};
use crate::kubernetes::{backoff::Backoff, reason};
use crate::telemetry;

/// Follows what there is.
pub(super) struct Kinds {
    client: Client,
    news: mpsc::Sender<News>,
    running: BTreeMap<Topic, AbortHandle>,
    tasks: JoinSet<()>,
    /// Definitions of kinds of ours; `None` until they were listed.
    defined: Option<BTreeSet<String>>,
    /// They are being listed: what is not among them yet may come.
    listing: bool,
    /// Kinds that are defined in another version only, as was said.
    outdated: BTreeSet<Topic>,
}

impl Kinds {
    /// Follows what there is and tells `news`.
    pub(super) fn new(client: Client, news: mpsc::Sender<News>) -> Self {
        Self {
            client,
            news,
            running: BTreeMap::new(),
            tasks: JoinSet::new(),
            defined: None,
            listing: true,
            outdated: BTreeSet::new(),
        }
    }

    /// Follows what there is now; tells which topics that are.
    ///
    /// # Errors
    /// An API server that cannot be asked.
    pub(super) async fn start(&mut self) -> Result<BTreeSet<Topic>, kube::Error> {
        let served = self.served().await?;
        for topic in &served {
            self.follow(*topic);
        }
        Ok(served)
    }

    /// Goes on with what is installed and removed; never returns.
    pub(super) async fn run(mut self) {
        let definitions: Api<PartialObjectMeta<CustomResourceDefinition>> =
            Api::all(self.client.clone());
        let events = watcher(definitions, watcher::Config::default());
        pin_mut!(events);
        let mut wait = SOON;
        let mut backoff = Backoff::default();
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => {
                        backoff.reset();
                        if self.note(event) {
                            wait = SOON;
                        }
                    }
                    Some(Err(_)) | None => {
                        tokio::time::sleep(backoff.next(fastrand::f64())).await;
                    }
                },
                () = tokio::time::sleep(wait) => {
                    wait = wait.saturating_mul(2).min(SELDOM);
                    self.look().await;
                }
                Some(_) = self.tasks.join_next() => {}
            }
        }
    }

    /// Takes one event of the definitions; true if it may be about a kind of ours.
    fn note(&mut self, event: Event<PartialObjectMeta<CustomResourceDefinition>>) -> bool {
        let ours = |name: &str| Topic::all().any(|topic| topic.definition() == name);
        match event {
            Event::Init => {
                self.defined = Some(BTreeSet::new());
                self.listing = true;
                false
            }
            Event::InitApply(object) | Event::Apply(object) => {
                let name = object.name_any();
                let is_ours = ours(&name);
                if is_ours {
                    self.defined.get_or_insert_default().insert(name);
                }
                is_ours
            }
            Event::Delete(object) => {
                let defined = self.defined.get_or_insert_default();
                defined.remove(&object.name_any())
            }
            Event::InitDone => {
                self.listing = false;
                true
            }
        }
    }

    /// Follows what is new, forgets what was removed.
    async fn look(&mut self) {
        let served = match self.served().await {
            Ok(served) => served,
            Err(error) => {
                tracing::debug!(error = reason(&error), "kinds cannot be looked up");
                return;
            }
        };
        for topic in Topic::all().filter(|topic| !topic.is_core()) {
            let is_defined = self
                .defined
                .as_ref()
                .filter(|_| !self.listing)
                .map(|defined| defined.contains(&topic.definition()));
            if served.contains(&topic) {
                self.outdated.remove(&topic);
                self.follow(topic);
            } else if is_defined == Some(false) && topic != Topic::ServiceCIDRs {
                self.forget(topic).await;
            } else if is_defined == Some(true) && self.outdated.insert(topic) {
                telemetry::record_kind_outdated(&topic.definition(), topic.api_version());
            }
        }
    }

    /// The topics that the API server has in the version that is read here.
    async fn served(&self) -> Result<BTreeSet<Topic>, kube::Error> {
        let mut served: BTreeSet<Topic> = Topic::all().filter(|topic| topic.is_core()).collect();
        let versions: BTreeSet<&str> = Topic::all()
            .filter(|topic| !topic.is_core())
            .map(Topic::api_version)
            .collect();
        for version in versions {
            let listed = match self.client.list_api_group_resources(version).await {
                Ok(listed) => listed.resources,
                Err(kube::Error::Api(status)) if status.code == 404 => continue,
                Err(error) => return Err(error),
            };
            let topics = Topic::all().filter(|topic| topic.api_version() == version);
            served.extend(topics.filter(|topic| {
                let plural = topic.plural();
                listed.iter().any(|resource| resource.name == plural)
            }));
        }
        Ok(served)
    }

    fn follow(&mut self, topic: Topic) {
        if self.running.contains_key(&topic) {
            return;
        }
        let api: Api<Object> = Api::all_with(self.client.clone(), &topic.resource());
        let handle = self.tasks.spawn(follow(api, topic, self.news.clone()));
        self.running.insert(topic, handle);
        telemetry::record_followed(&topic.to_string(), topic.api_version());
    }

    async fn forget(&mut self, topic: Topic) {
        if let Some(task) = self.running.remove(&topic) {
            task.abort();
            // Who listens no more is going away itself.
            drop(self.news.send(News::All(topic, Vec::new())).await);
        }
    }
}

/// After a change of a definition: the API server needs a moment to serve it.
const SOON: Duration = Duration::from_millis(200);
const SELDOM: Duration = Duration::from_mins(1);
