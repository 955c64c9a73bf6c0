//! What a control plane works with, opened and filled before anybody is served: from a folder of
//! manifests, or from a cluster. May use all above it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use kube::Client;
use mesh_api::name::TrustDomain;
use tokio::task::JoinSet;

use crate::bootstrap::{Bootstrap, Kubernetes};
use crate::ca::Authority;
use crate::ca::material::Material;
use crate::error::Error;
use crate::index::Index;
use crate::kubernetes::secrets::Secrets;
use crate::kubernetes::{self, Feed, Synced};
use crate::last_good::LastGood;
use crate::lease::LeaseFiles;
use crate::publish::Publisher;
use crate::state;
use crate::telemetry::{self, Trouble};
use crate::watch::{self, Folder, Watcher};

/// Keys and resources.
pub(crate) struct World {
    /// Signs certificates.
    pub(crate) authority: Arc<Authority>,
    /// Resources, and what is published of them.
    pub(crate) publisher: Arc<Publisher>,
    /// The cluster, if there is one.
    pub(crate) cluster: Option<Cluster>,
}

/// The cluster that resources come from.
pub(crate) struct Cluster {
    /// Asks the API server.
    pub(crate) client: Client,
    /// Its settings.
    pub(crate) settings: Kubernetes,
    /// Where the authority's keys are.
    pub(crate) secrets: Secrets,
    /// How far each watch is.
    pub(crate) synced: Synced,
}

impl World {
    /// Opens it by `bootstrap`; what follows changes joins `parts`. A cluster is not complete until
    /// [`World::wait`].
    ///
    /// # Errors
    /// Files or a cluster that cannot be used.
    pub(crate) async fn open(
        bootstrap: &Bootstrap,
        parts: &mut JoinSet<()>,
    ) -> Result<Self, Error> {
        match (&bootstrap.kubernetes, &bootstrap.manifests) {
            (Some(settings), _) => Self::of_cluster(bootstrap, settings, parts).await,
            (None, Some(manifests)) => Self::of_folder(bootstrap, manifests, parts),
            (None, None) => Err(Error::Bootstrap("no source of resources".into())),
        }
    }

    /// Files and leases are loaded when this returns.
    fn of_folder(
        bootstrap: &Bootstrap,
        manifests: &Path,
        parts: &mut JoinSet<()>,
    ) -> Result<Self, Error> {
        let Bootstrap {
            state,
            leaf_lifetime,
            ..
        } = bootstrap;
        let authority = Arc::new(Authority::open(state, *leaf_lifetime, SystemTime::now())?);
        let watcher = Watcher::new(manifests)?;
        let mut folder = Folder::new(manifests);
        let (index, last_good) = load_files(bootstrap, &mut folder)?;
        let publisher = publisher(bootstrap, index)?;
        let files = (watcher, folder, last_good);
        parts.spawn(follow_files(files, Arc::clone(&publisher)));
        Ok(Self {
            authority,
            publisher,
            cluster: None,
        })
    }

    async fn of_cluster(
        bootstrap: &Bootstrap,
        settings: &Kubernetes,
        parts: &mut JoinSet<()>,
    ) -> Result<Self, Error> {
        let client = kubernetes::connect(settings.kubeconfig.as_deref()).await?;
        let secrets = Secrets::new(&client, &settings.namespace);
        let mut index = Index::new(bootstrap.trust_domain.clone());
        if let Some(domain) = &settings.cluster_domain {
            index.set_cluster_domain(domain.clone());
        }
        let publisher = publisher(bootstrap, index)?;
        let feed = Feed::new(Arc::clone(&publisher));
        let synced = feed.synced();
        let mut trouble = Trouble::default();
        let (authority, trust_domain) = loop {
            let now = SystemTime::now();
            match trust(&secrets, now).await {
                Ok((material, domain)) => {
                    break (
                        Authority::of(material, bootstrap.leaf_lifetime, now)?,
                        domain,
                    );
                }
                // Away, or without rights yet: a process that ended would come back ever later.
                Err(error @ Error::Cluster { .. }) => {
                    trouble.note("certificate authority", &error.chain());
                    tokio::time::sleep(RETRY).await;
                }
                Err(error) => return Err(error),
            }
        };
        trouble.end("certificate authority");
        if let Some(kept) = trust_domain {
            let wanted = bootstrap.trust_domain.as_ref();
            if let Some(wanted) = wanted.filter(|wanted| **wanted != kept) {
                telemetry::record_trust_domain_kept(&kept.to_string(), &wanted.to_string());
            }
            // Before the first object: a Mesh that names another is refused.
            publisher.keep_trust_domain(kept);
        }
        parts.spawn(feed.run(client.clone()));
        Ok(Self {
            authority: Arc::new(authority),
            publisher,
            cluster: Some(Cluster {
                client,
                settings: settings.clone(),
                secrets,
                synced,
            }),
        })
    }

    /// Returns once everything that there is has been read: nothing incomplete is ever published.
    /// The trust domain of the first look stays: certificates and peers carry it.
    pub(crate) async fn wait(&self) {
        let Some(cluster) = &self.cluster else {
            return;
        };
        let synced = &cluster.synced;
        while tokio::time::timeout(PATIENCE, synced.wait()).await.is_err() {
            for (what, state) in synced.states() {
                if !state.synced {
                    let reason = state.failing.as_deref().unwrap_or("no answer yet");
                    telemetry::record_waiting(&what, reason);
                }
            }
        }
        self.publisher.fix_trust_domain();
        let domain = self.publisher.read(|index| index.facts().trust_domain);
        if let Err(error) = cluster.secrets.keep_trust_domain(&domain).await {
            telemetry::record_failure("trust domain", &error.chain());
        }
    }
}

/// Keys, and the trust domain that they were first used for.
async fn trust(
    secrets: &Secrets,
    now: SystemTime,
) -> Result<(Material, Option<TrustDomain>), Error> {
    let material = secrets.material(now).await?;
    Ok((material, secrets.trust_domain().await?))
}

fn publisher(bootstrap: &Bootstrap, index: Index) -> Result<Arc<Publisher>, Error> {
    let store = LeaseFiles::open(&bootstrap.state)?;
    let publisher = Publisher::new(index, store, bootstrap.lease, Instant::now())?;
    Ok(Arc::new(publisher))
}

/// Applies what changes in the folder of manifests; never returns.
async fn follow_files(
    (mut watcher, mut folder, last_good): (Watcher, Folder, LastGood),
    publisher: Arc<Publisher>,
) {
    let mut wait = watch::POLL;
    loop {
        watcher.changed(wait).await;
        wait = watch::POLL;
        match folder.scan() {
            Ok(scan) => {
                if scan.unsettled {
                    wait = watch::SETTLE;
                }
                publisher.apply_files(scan.clone());
                publisher.read(|index| last_good.keep(&scan, index));
            }
            Err(error) => telemetry::record_failure("manifests", &error.chain()),
        }
    }
}

/// The first look at the folder of manifests. The trust domain of the first one stays for good:
/// certificates and peers carry it.
pub(crate) fn load_files(
    bootstrap: &Bootstrap,
    folder: &mut Folder,
) -> Result<(Index, LastGood), Error> {
    let last_good = LastGood::open(&bootstrap.state)?;
    let before = read_trust_domain(&bootstrap.state)?;
    let is_first = before.is_none();
    let mut index = Index::new(before.or_else(|| bootstrap.trust_domain.clone()));
    if !is_first {
        index.fix_trust_domain();
    }
    last_good.start(folder, &mut index)?;
    if is_first {
        index.fix_trust_domain();
        let domain = index.facts().trust_domain.to_string();
        state::write(&bootstrap.state.join(TRUST_DOMAIN), domain.as_bytes())?;
    }
    Ok((index, last_good))
}

/// The trust domain that this control plane first ran with, if it ran before.
fn read_trust_domain(state: &Path) -> Result<Option<TrustDomain>, Error> {
    let Some(text) = state::read(&state.join(TRUST_DOMAIN))? else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&text);
    let domain = text.trim().parse();
    domain
        .map(Some)
        .map_err(|fault| Error::Authority(format!("{TRUST_DOMAIN}: {fault}")))
}

/// The file of the state folder with the trust domain.
const TRUST_DOMAIN: &str = "trust-domain";
/// How long a start waits before it says what it waits for.
const PATIENCE: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_secs(2);
