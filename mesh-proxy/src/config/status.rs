//! What the admin socket and reports say about configuration.

use std::collections::BTreeMap;

use mesh_api::error::Invalid;
use serde::Serialize;

/// State of configuration at one moment.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The control plane, if one is known.
    pub control: Option<String>,
    /// Whether the stream to it is up.
    pub connected: bool,
    /// Why it is not, as last seen.
    pub last_error: Option<String>,
    /// Whether what is in force was read from disk, and no control plane reached since.
    pub from_disk: bool,
    /// Of the snapshot in force.
    pub generation: u64,
    /// Every subscription.
    pub entries: BTreeMap<String, EntryStatus>,
    /// The workload's lease.
    pub registration: LeaseStatus,
}

/// State of one subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EntryStatus {
    /// How it stands.
    pub state: EntryState,
    /// The version in force; empty without one.
    pub version: String,
    /// The version last refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused_version: Option<String>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
}

impl EntryStatus {
    /// Notes a refusal.
    pub(super) fn refuse(&mut self, version: &str, faults: &[Invalid]) {
        self.state = EntryState::Refused;
        self.refused_version = Some(version.to_owned());
        self.faults = faults.iter().map(ToString::to_string).collect();
    }
}

/// How a subscription stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum EntryState {
    /// Asked for, no answer yet.
    #[default]
    Pending,
    /// In force.
    Held,
    /// Known not to exist.
    Absent,
    /// Its newest version was refused; the last good is in force if `version` is set.
    Refused,
}

/// State of the workload's lease.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    tag = "state"
)]
pub enum LeaseStatus {
    /// This proxy keeps none.
    #[default]
    None,
    /// The app's ports do not accept connections yet.
    WaitingForApp,
    /// The control plane has not answered yet.
    Registering,
    /// Held.
    Held {
        /// Its length.
        seconds: u32,
        /// A manifest of the same name is in force instead.
        shadowed_by_file: bool,
    },
    /// The control plane refused it.
    Refused {
        /// Why.
        reason: String,
    },
    /// Given back.
    Ended,
}
