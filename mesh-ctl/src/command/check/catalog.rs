//! Every check: its name, which is its anchor in `docs/reference/check.md`, and its function.

use clap::ValueEnum;
use serde::Serialize;

use super::facts::Facts;
use super::finding::Verdict;
use super::{
    authority, cluster, configuration, control, first_day, identity, policy, proxies, state,
    workload,
};

/// The page that explains each check under a heading of its name.
pub(super) const PAGE: &str = "docs/reference/check.md";

/// What checks are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Category {
    /// The state folder on this machine.
    StateFolder,
    /// The control plane.
    ControlPlane,
    /// The certificate authority.
    Certificates,
    /// Identities of workloads.
    Identities,
    /// Sidecars.
    Proxies,
    /// Resources.
    Configuration,
    /// Policies that let more in or out than they need to.
    Policies,
    /// Workloads and their leases.
    Workloads,
    /// The cluster that a mesh is, or is to be, in.
    Cluster,
    /// What a strict mesh breaks on its first day.
    Adoption,
}

impl Category {
    /// As a heading.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::StateFolder => "state folder",
            Self::ControlPlane => "control plane",
            Self::Certificates => "certificate authority",
            Self::Identities => "identities",
            Self::Proxies => "proxies",
            Self::Configuration => "configuration",
            Self::Policies => "policies",
            Self::Workloads => "workloads",
            Self::Cluster => "cluster",
            Self::Adoption => "adoption",
        }
    }
}

/// One check.
pub(super) struct Entry {
    /// Its name and anchor.
    pub(super) name: &'static str,
    /// What it is about.
    pub(super) category: Category,
    /// What holds if it finds nothing.
    pub(super) good: &'static str,
    /// The check.
    pub(super) run: fn(&Facts) -> Verdict,
}

/// Every check, in the order it is made.
pub(super) const ALL: &[Entry] = &[
    entry(
        "state-folder-exists",
        Category::StateFolder,
        "the state folder is there",
        state::exists,
    ),
    entry(
        "private-files",
        Category::StateFolder,
        "keys, tokens and sockets are this user's alone",
        state::private,
    ),
    entry(
        "control-plane-answers",
        Category::ControlPlane,
        "the control plane answers",
        control::answers,
    ),
    entry(
        "control-plane-listens",
        Category::ControlPlane,
        "it takes connections of proxies",
        control::listens,
    ),
    entry(
        "control-plane-build",
        Category::ControlPlane,
        "it is of the same build as meshctl",
        control::build,
    ),
    entry(
        "clocks",
        Category::ControlPlane,
        "clocks agree",
        control::clocks,
    ),
    entry(
        "root-certificate",
        Category::Certificates,
        "the root certificate is valid",
        authority::root,
    ),
    entry(
        "intermediate-certificate",
        Category::Certificates,
        "the intermediate certificate is valid",
        authority::intermediate,
    ),
    entry(
        "trusted-roots",
        Category::Certificates,
        "the root in use is trusted, and no trusted root has ended",
        authority::roots,
    ),
    entry(
        "workload-certificates",
        Category::Identities,
        "workloads have valid certificates, renewed in time",
        identity::certificates,
    ),
    entry(
        "workload-roots",
        Category::Identities,
        "workloads trust the root in use",
        identity::roots,
    ),
    entry(
        "proxies-connected",
        Category::Proxies,
        "every proxy is connected",
        proxies::connected,
    ),
    entry(
        "proxies-current",
        Category::Proxies,
        "every proxy runs what was published",
        proxies::current,
    ),
    entry(
        "proxies-ready",
        Category::Proxies,
        "every proxy is ready for traffic",
        proxies::ready,
    ),
    entry(
        "proxies-build",
        Category::Proxies,
        "every proxy is of the control plane's build",
        proxies::build,
    ),
    entry(
        "resources-accepted",
        Category::Configuration,
        "every resource is accepted",
        configuration::accepted,
    ),
    entry(
        "references-resolved",
        Category::Configuration,
        "every reference leads somewhere",
        configuration::resolved,
    ),
    entry(
        "services-have-endpoints",
        Category::Configuration,
        "every service has endpoints",
        configuration::endpoints,
    ),
    entry(
        "ports-declare-protocol",
        Category::Configuration,
        "every port of a service declares its protocol",
        configuration::protocols,
    ),
    entry(
        "mutual-tls-strict",
        Category::Policies,
        "plaintext is refused everywhere",
        policy::strict,
    ),
    entry(
        "mutual-tls-until",
        Category::Policies,
        "no exception from strict mutual TLS is overdue",
        policy::until,
    ),
    entry(
        "unknown-destinations",
        Category::Policies,
        "calls to unknown destinations are refused",
        policy::unknown,
    ),
    entry(
        "leases-current",
        Category::Workloads,
        "every lease is renewed",
        workload::leases,
    ),
    entry(
        "sidecars-run",
        Category::Workloads,
        "every workload started here runs with its sidecar",
        workload::sidecars,
    ),
    entry(
        "addresses-unique",
        Category::Workloads,
        "no two workloads share an address and port",
        workload::addresses,
    ),
    GATEWAY_API,
    entry(
        "entries-in-mesh",
        Category::Adoption,
        "what leads traffic into the cluster is in the mesh",
        first_day::entries,
    ),
    entry(
        "outsiders",
        Category::Adoption,
        "clients outside the cluster call no strict workload",
        first_day::outsiders,
    ),
    entry(
        "scrapes",
        Category::Adoption,
        "no metrics are scraped from outside the mesh",
        first_day::scrapes,
    ),
    entry(
        "webhooks-reachable",
        Category::Adoption,
        "the API server reaches what it calls",
        first_day::webhooks,
    ),
    entry(
        "network-policies",
        Category::Adoption,
        "network policies let the mesh's own ports through",
        first_day::network_policies,
    ),
    entry(
        "host-network",
        Category::Adoption,
        "no pod that asks for a sidecar is on its node's network",
        first_day::host_network,
    ),
    entry(
        "started-before",
        Category::Adoption,
        "every pod that should have a sidecar has one",
        first_day::started_before,
    ),
];

/// The checks before an installation, in the order they are made.
pub(super) const BEFORE: &[Entry] = &[
    entry(
        "cluster-version",
        Category::Cluster,
        "the cluster's version is supported",
        cluster::version,
    ),
    entry(
        "installation-rights",
        Category::Cluster,
        "these credentials may install a mesh",
        cluster::rights,
    ),
    GATEWAY_API,
    entry(
        "pod-security",
        Category::Cluster,
        "Pod Security lets pods have an init container that captures",
        cluster::pod_security,
    ),
    entry(
        "network-plugin",
        Category::Cluster,
        "the cluster's network lets sidecars capture",
        cluster::network,
    ),
    entry(
        "other-meshes",
        Category::Cluster,
        "no other mesh injects pods",
        cluster::other_meshes,
    ),
    entry(
        "not-installed",
        Category::Cluster,
        "no mesh is installed yet",
        cluster::not_installed,
    ),
];

const GATEWAY_API: Entry = entry(
    "gateway-api",
    Category::Cluster,
    "the Gateway API is there, of a version that is understood",
    cluster::gateway_api,
);

const fn entry(
    name: &'static str,
    category: Category,
    good: &'static str,
    run: fn(&Facts) -> Verdict,
) -> Entry {
    Entry {
        name,
        category,
        good,
        run,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_has_its_heading_in_the_page_and_no_other_is_there() {
        let page = include_str!("../../../../docs/reference/check.md");
        let headings = page.lines().filter_map(|line| line.strip_prefix("### "));
        let headings: Vec<&str> = headings.collect();
        let before = BEFORE.iter().filter(|entry| entry.name != GATEWAY_API.name);
        let names: Vec<&str> = ALL.iter().chain(before).map(|entry| entry.name).collect();
        assert_eq!(
            headings, names,
            "{PAGE}, headings of the third level, in order"
        );
    }

    #[test]
    fn checks_of_a_category_stand_together() {
        let mut categories: Vec<Category> = ALL.iter().map(|entry| entry.category).collect();
        categories.dedup();
        assert_eq!(categories.len(), Category::value_variants().len());
    }
}
