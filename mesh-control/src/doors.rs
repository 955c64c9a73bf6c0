//! The servers that only a control plane in a cluster has. May use all above it.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::admin::Admin;
use crate::bootstrap::Kubernetes;
use crate::certificate::Certificates;
use crate::error::Error;
use crate::kubernetes::{Synced, bundle, leader, write};
use crate::observe::{self, Observed};
use crate::remote::{self, Remote};
use crate::web::bind;
use crate::webhook::{self, Webhook};
use crate::world::Cluster;

/// Their sockets, bound before anything is read.
pub(crate) struct Doors {
    observed: Arc<Observed>,
    webhooks: TcpListener,
    remote: TcpListener,
    injection: PathBuf,
}

impl Doors {
    /// Binds them by `settings`; liveness and metrics are served at once.
    ///
    /// # Errors
    /// An address that cannot be bound.
    pub(crate) async fn bind(
        settings: &Kubernetes,
        synced: Synced,
        parts: &mut JoinSet<()>,
    ) -> Result<Self, Error> {
        let observed = Arc::new(Observed {
            synced,
            serving: OnceLock::new(),
        });
        let listener = bind(settings.observe).await?;
        parts.spawn(observe::serve(listener, Arc::clone(&observed)));
        Ok(Self {
            observed,
            webhooks: bind(settings.webhooks).await?,
            remote: bind(settings.remote_admin).await?,
            injection: settings.injection.clone(),
        })
    }

    /// Serves, once there is something to serve.
    pub(crate) fn open(
        self,
        cluster: Cluster,
        certificates: &Certificates,
        admin: &Arc<Admin>,
        parts: &mut JoinSet<()>,
    ) {
        let (lead, leads) = watch::channel(false);
        let shared = &admin.shared;
        let Cluster {
            client, settings, ..
        } = cluster;
        let webhook = Arc::new(Webhook {
            client: client.clone(),
            publisher: Arc::clone(&shared.publisher),
            authority: Arc::clone(&shared.authority),
            injection: self.injection,
        });
        let web = Arc::clone(&certificates.web);
        parts.spawn(webhook::serve(
            self.webhooks,
            web,
            shared.stopping.clone(),
            webhook,
        ));
        let remote = Arc::new(Remote {
            client: client.clone(),
            admin: Arc::clone(admin),
        });
        let web = Arc::clone(&certificates.web);
        parts.spawn(remote::serve(
            self.remote,
            web,
            shared.stopping.clone(),
            remote,
        ));
        let stopping = shared.stopping.clone();
        parts.spawn(leader::seek(
            client.clone(),
            settings.namespace,
            lead,
            stopping,
        ));
        let publisher = Arc::clone(&shared.publisher);
        parts.spawn(write::keep(client.clone(), publisher, leads.clone()));
        parts.spawn(bundle::keep(client, Arc::clone(&shared.authority), leads));
        // Set once: nobody else does.
        drop(self.observed.serving.set(shared.clone()));
    }
}
