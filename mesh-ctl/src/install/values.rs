//! What can be set at an installation, with the defaults of each profile. May use nothing of this
//! crate.

use std::collections::BTreeMap;

use mesh_api::error::Invalid;
use mesh_api::name::TrustDomain;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A set of defaults.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Profile {
    /// Two replicas of the control plane.
    #[default]
    Default,
    /// Three replicas, with more room.
    Ha,
    /// One small replica: for a laptop, or for tests.
    Minimal,
}

impl Profile {
    /// Every profile.
    pub(crate) const ALL: [Self; 3] = [Self::Default, Self::Ha, Self::Minimal];

    /// As a user writes it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Ha => "ha",
            Self::Minimal => "minimal",
        }
    }
}

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Values {
    /// The set of defaults these began with.
    pub(crate) profile: Profile,
    /// The trust domain of every identity. It cannot change later without new certificates.
    pub(crate) trust_domain: String,
    /// The cluster's DNS domain.
    pub(crate) cluster_domain: String,
    /// Where images come from.
    pub(crate) image: Image,
    /// The control plane.
    pub(crate) control: Control,
    /// Sidecars.
    pub(crate) proxy: Proxy,
    /// Redirection by a CNI plug-in in place of an init container.
    pub(crate) cni: Cni,
    /// Admission.
    pub(crate) webhook: Webhook,
}

/// Where images come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Image {
    /// The registry and path before the image's own name.
    pub(crate) registry: String,
    /// The tag of every image.
    pub(crate) tag: String,
    /// `Always`, `IfNotPresent` or `Never`.
    pub(crate) pull_policy: String,
    /// Secrets of `mesh-system` that pull the control plane's image, as `{name: ...}`.
    pub(crate) pull_secrets: Vec<PullSecret>,
}

/// A Secret with a registry's credentials.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PullSecret {
    /// Its name.
    pub(crate) name: String,
}

/// The control plane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Control {
    /// Replicas; each serves.
    pub(crate) replicas: u32,
    /// Resources of one replica, as a container has them.
    pub(crate) resources: Resources,
    /// The priority class of its pods; empty for none.
    pub(crate) priority_class: String,
    /// Labels of the nodes it may run on.
    pub(crate) node_selector: BTreeMap<String, String>,
    /// Taints it tolerates, as a pod has them.
    pub(crate) tolerations: Vec<Value>,
    /// What it logs: `error`, `warn`, `info`, `debug`, `trace`, or a filter.
    pub(crate) log_level: String,
    /// How long a workload's certificate lives, in seconds.
    pub(crate) leaf_lifetime_seconds: u32,
}

/// Sidecars.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Proxy {
    /// Processor time that each asks for; an annotation of a pod goes before it.
    pub(crate) cpu: String,
    /// Memory that each asks for; an annotation of a pod goes before it.
    pub(crate) memory: String,
    /// The most memory that each may use.
    pub(crate) memory_limit: String,
    /// What it logs.
    pub(crate) log_level: String,
    /// Whether it writes a line for each exchange, which `meshctl logs` reads; an annotation of a pod
    /// goes before it.
    pub(crate) access_log: bool,
    /// The longest time that open connections have to end, in seconds.
    pub(crate) drain_seconds: u32,
    /// How long an app without a `preStop` hook goes on serving after its pod is told to end, in
    /// seconds, while callers learn of it.
    pub(crate) app_stop_delay_seconds: u32,
}

/// Redirection by a CNI plug-in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Cni {
    /// Whether to use it.
    pub(crate) enabled: bool,
    /// The node's folder of CNI configurations.
    pub(crate) configuration_dir: String,
    /// The node's folder of CNI programs.
    pub(crate) program_dir: String,
    /// Resources of its pod on each node.
    pub(crate) resources: Resources,
}

/// Admission.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Webhook {
    /// How long the API server waits for an answer.
    pub(crate) timeout_seconds: u32,
}

/// Resources of a container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Resources {
    /// What it is given for sure.
    pub(crate) requests: BTreeMap<String, String>,
    /// What it may use at most.
    pub(crate) limits: BTreeMap<String, String>,
}

impl Values {
    /// The defaults of a profile.
    pub(crate) fn of(profile: Profile) -> Self {
        let (replicas, control) = match profile {
            Profile::Default => (2, resources(&["100m", "128Mi"], "1Gi")),
            Profile::Ha => (3, resources(&["500m", "256Mi"], "2Gi")),
            Profile::Minimal => (1, resources(&["10m", "64Mi"], "512Mi")),
        };
        Self {
            profile,
            trust_domain: "cluster.local".into(),
            cluster_domain: "cluster.local".into(),
            image: Image {
                registry: "mesh.dev".into(),
                tag: mesh_api::version().into(),
                pull_policy: "IfNotPresent".into(),
                pull_secrets: Vec::new(),
            },
            control: Control {
                replicas,
                resources: control,
                priority_class: "system-cluster-critical".into(),
                node_selector: BTreeMap::new(),
                tolerations: Vec::new(),
                log_level: "info".into(),
                leaf_lifetime_seconds: 86_400,
            },
            proxy: Proxy {
                cpu: "10m".into(),
                memory: "32Mi".into(),
                memory_limit: "512Mi".into(),
                log_level: "info".into(),
                access_log: false,
                drain_seconds: 30,
                app_stop_delay_seconds: 2,
            },
            cni: Cni {
                enabled: false,
                configuration_dir: "/etc/cni/net.d".into(),
                program_dir: "/opt/cni/bin".into(),
                resources: resources(&["10m", "32Mi"], "128Mi"),
            },
            webhook: Webhook {
                timeout_seconds: 10,
            },
        }
    }

    /// As data, for the holes of templates.
    pub(crate) fn tree(&self) -> Value {
        // Fields of plain types: this cannot fail.
        serde_json::to_value(self).unwrap_or_default()
    }

    /// Everything that is wrong, with its path.
    pub(crate) fn faults(&self) -> Vec<Invalid> {
        let mut faults = Vec::new();
        let mut check = |path: &str, is_good: bool, reason: &str| {
            if !is_good {
                faults.push(Invalid::new(path, reason));
            }
        };
        let is_domain = self.trust_domain.parse::<TrustDomain>().is_ok();
        check("trustDomain", is_domain, "must be a DNS name");
        let is_domain = self.cluster_domain.parse::<TrustDomain>().is_ok();
        check("clusterDomain", is_domain, "must be a DNS name");
        let is_word = |text: &str| !text.is_empty() && !text.contains(char::is_whitespace);
        check(
            "image.registry",
            is_word(&self.image.registry) && !self.image.registry.ends_with('/'),
            "must be a registry with an optional path, such as registry.example.com/mesh",
        );
        check("image.tag", is_tag(&self.image.tag), "must be an image tag");
        check(
            "image.pullPolicy",
            matches!(
                self.image.pull_policy.as_str(),
                "Always" | "IfNotPresent" | "Never"
            ),
            "must be Always, IfNotPresent or Never",
        );
        let replicas = (1..=9).contains(&self.control.replicas);
        check("control.replicas", replicas, "must be 1 to 9");
        let lifetime = (3_600..=604_800).contains(&self.control.leaf_lifetime_seconds);
        check(
            "control.leafLifetimeSeconds",
            lifetime,
            "must be 3600 to 604800 (one hour to seven days)",
        );
        for (path, amount) in [
            ("proxy.cpu", &self.proxy.cpu),
            ("proxy.memory", &self.proxy.memory),
            ("proxy.memoryLimit", &self.proxy.memory_limit),
        ] {
            check(
                path,
                is_quantity(amount),
                "must be a quantity such as 100m or 64Mi",
            );
        }
        for (path, seconds) in [
            ("proxy.drainSeconds", self.proxy.drain_seconds),
            (
                "proxy.appStopDelaySeconds",
                self.proxy.app_stop_delay_seconds,
            ),
        ] {
            check(path, seconds <= 3_600, "must be 0 to 3600");
        }
        let timeout = (1..=30).contains(&self.webhook.timeout_seconds);
        check("webhook.timeoutSeconds", timeout, "must be 1 to 30");
        for (path, dir) in [
            ("cni.configurationDir", &self.cni.configuration_dir),
            ("cni.programDir", &self.cni.program_dir),
        ] {
            check(path, dir.starts_with('/'), "must be an absolute path");
        }
        for (path, resources) in [
            ("control", &self.control.resources),
            ("cni", &self.cni.resources),
        ] {
            resources.check(path, &mut faults);
        }
        faults
    }
}

impl Resources {
    fn check(&self, owner: &str, faults: &mut Vec<Invalid>) {
        for (field, amounts) in [("requests", &self.requests), ("limits", &self.limits)] {
            for (name, amount) in amounts {
                if !is_quantity(amount) {
                    let path = format!("{owner}.resources.{field}.{name}");
                    let reason = format!("{amount:?} is no quantity such as 100m or 64Mi");
                    faults.push(Invalid::new(path, reason));
                }
            }
        }
    }
}

/// CPU and memory asked for, and the memory it may use at most.
fn resources([cpu, memory]: &[&str; 2], limit: &str) -> Resources {
    let map = |value: Value| serde_json::from_value(value).unwrap_or_default();
    Resources {
        requests: map(json!({ "cpu": cpu, "memory": memory })),
        limits: map(json!({ "memory": limit })),
    }
}

fn is_tag(text: &str) -> bool {
    let is_inside = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=128).contains(&text.len()) && text.bytes().all(is_inside) && !text.starts_with(['.', '-'])
}

/// A number with an optional suffix of Kubernetes.
fn is_quantity(text: &str) -> bool {
    let end = text
        .find(|next: char| !next.is_ascii_digit() && next != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let suffixes = [
        "", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei",
    ];
    number.parse::<f64>().is_ok() && suffixes.contains(&suffix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_of_every_profile_are_right() {
        for profile in Profile::ALL {
            assert_eq!(Values::of(profile).faults(), [], "{profile:?}");
        }
    }

    #[test]
    fn every_fault_is_told_with_its_path() {
        let mut values = Values::of(Profile::Default);
        values.control.replicas = 0;
        values.image.tag = "a b".into();
        values
            .control
            .resources
            .limits
            .insert("cpu".into(), "lots".into());
        let faults: Vec<String> = values.faults().iter().map(ToString::to_string).collect();
        assert_eq!(
            faults,
            [
                "image.tag: must be an image tag",
                "control.replicas: must be 1 to 9",
                "control.resources.limits.cpu: \"lots\" is no quantity such as 100m or 64Mi",
            ]
        );
    }
}
