//! The documents of one file, and what stays of them when they go bad. May use `lease`, `status`
//! and `telemetry`.

use std::collections::BTreeSet;
use std::sync::Arc;

use mesh_api::error::Invalid;
use mesh_api::manifest::{self, Located, ManifestFault};
use mesh_api::resource::{MESH_API_VERSION, Resource, ResourceKey};
use serde_json::json;

use crate::lease::Registration;
use crate::status::Fault;
use crate::telemetry;

/// A file's documents.
#[derive(Default)]
pub(super) struct Documents {
    good: Vec<Document>,
    faults: Vec<DocumentFault>,
}

/// A document that was read.
#[derive(Clone)]
pub(super) struct Document {
    pub(super) key: ResourceKey,
    pub(super) resource: Arc<Resource>,
    /// An earlier version, in force because the present one cannot be read.
    pub(super) outdated: bool,
    located: Arc<Located>,
}

/// A document or file that cannot be read.
pub(super) struct DocumentFault {
    /// `HTTPRoute demo/catalog`, as far as the document says.
    pub(super) object: Option<String>,
    pub(super) fault: Fault,
    /// An earlier version stays in force.
    pub(super) keeps_last_good: bool,
}

impl Documents {
    /// Takes a file's present content. A document that is gone is gone; one that went bad keeps
    /// its last good, and so does every one that a fault without a name could be about.
    pub(super) fn replace(&mut self, file: &str, content: Result<String, String>) {
        let (mut good, mut faults) = match content {
            Ok(text) => read(file, &text),
            Err(reason) => {
                telemetry::record_refused(file, &reason);
                (Vec::new(), vec![DocumentFault::of_file(reason)])
            }
        };
        let present: BTreeSet<ResourceKey> = good.iter().map(|one| one.key.clone()).collect();
        let unnamed = faults.iter().any(|fault| fault.object.is_none());
        let broken: BTreeSet<String> = faults
            .iter()
            .filter_map(|fault| fault.object.clone())
            .collect();
        for mut before in std::mem::take(&mut self.good) {
            let may_be_broken = unnamed || broken.contains(&before.key.to_string());
            if !present.contains(&before.key) && may_be_broken {
                before.outdated = true;
                good.push(before);
            }
        }
        for fault in &mut faults {
            fault.keeps_last_good = good.iter().any(|one| {
                let named = fault.object.as_ref();
                one.outdated && named.is_none_or(|object| *object == one.key.to_string())
            });
        }
        self.good = good;
        self.faults = faults;
    }

    pub(super) fn all(&self) -> &[Document] {
        &self.good
    }

    pub(super) fn faults(&self) -> &[DocumentFault] {
        &self.faults
    }
}

impl Document {
    /// The line its document's content begins at, from 1.
    pub(super) fn line(&self) -> u32 {
        self.located.locate("").map_or(1, |(line, _)| line)
    }

    /// A fault with its place in the file. An outdated document's text is no longer there.
    pub(super) fn place(&self, fault: &Invalid) -> Fault {
        Fault::of_manifest(&self.located.fault(fault))
    }

    /// A fault with file, line, field and snippet.
    pub(super) fn render(&self, fault: &Invalid) -> String {
        self.located.render(fault)
    }
}

impl DocumentFault {
    fn of_file(reason: String) -> Self {
        Self {
            object: None,
            fault: Fault::of(&Invalid::new("", reason)),
            keeps_last_good: false,
        }
    }

    fn of(fault: &ManifestFault) -> Self {
        telemetry::record_refused(&fault.file, &fault.to_string());
        Self {
            object: fault.object.clone(),
            fault: Fault::of_manifest(fault),
            keeps_last_good: false,
        }
    }
}

fn read(file: &str, text: &str) -> (Vec<Document>, Vec<DocumentFault>) {
    let manifest = manifest::read(file, text);
    let mut good = Vec::new();
    let mut faults: Vec<DocumentFault> = manifest.faults.iter().map(DocumentFault::of).collect();
    for located in manifest.resources {
        match located.resource.key() {
            Ok(key) => good.push(Document {
                key,
                resource: Arc::new(located.resource.clone()),
                outdated: false,
                located: Arc::new(located),
            }),
            Err(invalid) => faults.push(DocumentFault::of(&located.fault(&invalid))),
        }
    }
    (good, faults)
}

/// A registration as the resource that a file would give.
///
/// # Errors
/// Never for a checked registration.
pub(super) fn workload_of(registration: &Registration) -> Result<Resource, Invalid> {
    Resource::from_value(json!({
        "apiVersion": MESH_API_VERSION,
        "kind": "Workload",
        "metadata": {
            "name": registration.workload.name,
            "namespace": registration.workload.namespace,
            "labels": registration.labels,
        },
        "spec": {
            "address": registration.address,
            "ports": registration.ports,
            "serviceAccount": registration.service_account,
            "tunnelPort": registration.tunnel_port,
            "weight": registration.weight,
        },
    }))
}
