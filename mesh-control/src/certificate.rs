//! The certificates of this process's own servers: made from the authority, renewed from a third of
//! their lives, made anew when root or intermediate change. May use `ca`, `kubernetes`, `publish`
//! and `error`.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use mesh_api::name::{Identity, Name, Namespace};
use tokio::sync::watch;

use crate::ca::Authority;
use crate::error::Error;
use crate::kubernetes::secrets::Secrets;
use crate::publish::Publisher;
use crate::telemetry::{self, Trouble};

/// TLS settings in force; replaced when the own certificate or the roots change.
pub type SharedTls = Arc<RwLock<Arc<rustls::ServerConfig>>>;

/// TLS of this process.
pub struct Certificates {
    authority: Arc<Authority>,
    publisher: Arc<Publisher>,
    /// Where the authority's keys are, if that is a cluster.
    secrets: Option<Secrets>,
    namespace: Namespace,
    service: Name,
    /// Of the server of proxies.
    pub proxies: SharedTls,
    /// Of servers of HTTP.
    pub web: SharedTls,
}

impl Certificates {
    /// Makes the first ones. `namespace` and `service` lead to this process.
    ///
    /// # Errors
    /// An authority that has ended.
    pub fn new(
        authority: Arc<Authority>,
        publisher: Arc<Publisher>,
        secrets: Option<Secrets>,
        (namespace, service): (Namespace, Name),
    ) -> Result<Self, Error> {
        let made = make(&authority, &publisher, &namespace, &service)?;
        let share = |config| Arc::new(RwLock::new(Arc::new(config)));
        Ok(Self {
            authority,
            publisher,
            secrets,
            namespace,
            service,
            proxies: share(made.proxies),
            web: share(made.web),
        })
    }

    /// Keeps certificates and roots up to date and tells `roots_changed`; never returns.
    pub async fn keep(self, roots_changed: watch::Sender<u64>) {
        let third = self.authority.leaf_lifetime() / 3;
        let mut renewed = Instant::now();
        let mut trouble = Trouble::default();
        loop {
            tokio::time::sleep(POLL.min(third)).await;
            let changed = match self.reload().await {
                Ok(changed) => {
                    trouble.end("roots");
                    changed
                }
                Err(error) => {
                    trouble.note("roots", &error.chain());
                    false
                }
            };
            if !changed && renewed.elapsed() < third {
                continue;
            }
            let Self {
                authority,
                publisher,
                ..
            } = &self;
            match make(authority, publisher, &self.namespace, &self.service) {
                Ok(made) => {
                    set(&self.proxies, made.proxies);
                    set(&self.web, made.web);
                    renewed = Instant::now();
                }
                Err(error) => telemetry::record_failure("own certificate", &error.chain()),
            }
            if changed {
                roots_changed.send_modify(|count| *count += 1);
            }
        }
    }

    /// Looks at where the authority is kept; true if something is new.
    async fn reload(&self) -> Result<bool, Error> {
        match &self.secrets {
            Some(secrets) => {
                let material = secrets.material(SystemTime::now()).await?;
                self.authority.replace(material)
            }
            None => self.authority.reload_roots(),
        }
    }
}

struct Made {
    proxies: rustls::ServerConfig,
    web: rustls::ServerConfig,
}

fn make(
    authority: &Authority,
    publisher: &Publisher,
    namespace: &Namespace,
    service: &Name,
) -> Result<Made, Error> {
    let wrong = |_| Error::Authority("the own identity is malformed".into());
    let facts = publisher.read(crate::index::Index::facts);
    let identity = Identity {
        trust_domain: facts.trust_domain,
        namespace: "mesh-system".parse().map_err(wrong)?,
        service_account: "mesh-control".parse().map_err(wrong)?,
    };
    let name = format!("{service}.{namespace}.svc");
    let names = [format!("{name}.{}", facts.cluster_domain), name];
    let now = SystemTime::now();
    Ok(Made {
        proxies: authority.server_config(&identity, now)?,
        web: authority.web_config(&names, now)?,
    })
}

fn set(shared: &SharedTls, config: rustls::ServerConfig) {
    *shared.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
}

/// How often the place of the authority's keys is looked at.
const POLL: Duration = Duration::from_secs(10);
