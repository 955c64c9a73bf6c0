//! The documents of one file, and what stays of them when they go bad. May use `lease` and
//! `telemetry`.

use std::collections::BTreeSet;

use mesh_api::error::Invalid;
use mesh_api::manifest;
use mesh_api::name::TrustDomain;
use mesh_api::resource::{Resource, ResourceKey};
use serde_json::json;

use crate::lease::Registration;
use crate::telemetry;

/// A file's documents.
#[derive(Default)]
pub(super) struct Documents {
    good: Vec<Document>,
    faults: Vec<DocumentFault>,
    file: String,
}

/// A document that was read.
#[derive(Clone)]
pub(super) struct Document {
    pub(super) key: ResourceKey,
    pub(super) line: usize,
    pub(super) resource: Resource,
    /// An earlier version, in force because the present one is bad.
    pub(super) outdated: bool,
}

/// A document or file that was refused.
pub(super) struct DocumentFault {
    key: Option<ResourceKey>,
    pub(super) line: usize,
    pub(super) invalid: Invalid,
    /// An earlier version stays in force.
    pub(super) keeps_last_good: bool,
}

impl Documents {
    /// Takes a file's present content. A document that is gone is gone; one that went bad keeps
    /// its last good, and so does every one that a fault without a name could be about.
    pub(super) fn replace(&mut self, file: &str, content: Result<String, String>) {
        file.clone_into(&mut self.file);
        let (mut good, mut faults) = match content {
            Ok(text) => read(file, &text),
            Err(reason) => (Vec::new(), vec![DocumentFault::of_file(reason)]),
        };
        let present: BTreeSet<ResourceKey> = good.iter().map(|one| one.key.clone()).collect();
        let unnamed = faults.iter().any(|fault| fault.key.is_none());
        for mut before in std::mem::take(&mut self.good) {
            let broken = faults
                .iter()
                .any(|fault| fault.key.as_ref() == Some(&before.key));
            if !present.contains(&before.key) && (broken || unnamed) {
                before.outdated = true;
                good.push(before);
            }
        }
        for fault in &mut faults {
            fault.keeps_last_good = match &fault.key {
                Some(key) => good.iter().any(|one| one.outdated && one.key == *key),
                None => good.iter().any(|one| one.outdated),
            };
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

    /// Logs what was refused.
    pub(super) fn record(&self) {
        for fault in &self.faults {
            let place = format!("{}:{}", self.file, fault.line);
            telemetry::record_refused(&place, &fault.invalid.to_string());
        }
    }
}

impl DocumentFault {
    fn of_file(reason: String) -> Self {
        Self {
            key: None,
            line: 0,
            invalid: Invalid::new("", reason),
            keeps_last_good: false,
        }
    }

    pub(super) fn kind(&self) -> String {
        let kind = self.key.as_ref().map(|key| key.kind.to_string());
        kind.unwrap_or_default()
    }

    pub(super) fn namespace(&self) -> Option<String> {
        let namespace = self.key.as_ref()?.namespace.as_ref()?;
        Some(namespace.to_string())
    }

    pub(super) fn name(&self) -> String {
        let name = self.key.as_ref().map(|key| key.name.to_string());
        name.unwrap_or_default()
    }
}

fn read(file: &str, text: &str) -> (Vec<Document>, Vec<DocumentFault>) {
    let manifest = manifest::read(file, text);
    let mut good = Vec::new();
    let mut faults: Vec<DocumentFault> = manifest
        .faults
        .into_iter()
        .map(|fault| DocumentFault {
            key: None,
            line: fault.line,
            invalid: fault.invalid,
            keeps_last_good: false,
        })
        .collect();
    for located in manifest.resources {
        let line = located.line;
        match located.resource.key() {
            Ok(key) => good.push(Document {
                key,
                line,
                resource: located.resource,
                outdated: false,
            }),
            Err(invalid) => faults.push(DocumentFault {
                key: None,
                line,
                invalid,
                keeps_last_good: false,
            }),
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
        "apiVersion": mesh_api::resource::MESH_API_VERSION,
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

/// The Mesh that only names its trust domain.
///
/// # Errors
/// Never for a checked trust domain.
pub(super) fn mesh_of(trust_domain: &TrustDomain) -> Result<Resource, Invalid> {
    Resource::from_value(json!({
        "apiVersion": mesh_api::resource::MESH_API_VERSION,
        "kind": "Mesh",
        "metadata": { "name": "default" },
        "spec": { "trustDomain": trust_domain },
    }))
}
