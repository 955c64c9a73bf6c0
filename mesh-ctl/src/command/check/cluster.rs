//! Checks of the cluster that a mesh is, or is to be, in.

use serde_json::Value;

use super::facts::{Cluster, Facts};
use super::finding::{Finding, Verdict};
use crate::command::install::gateway;
use crate::command::install::preflight::{NEWEST, OLDEST, supported};
use crate::source::json::text;

/// What other meshes call their groups, and themselves.
const MESHES: [(&str, &str); 4] = [
    ("istio.io", "Istio"),
    ("linkerd.io", "Linkerd"),
    ("kuma.io", "Kuma"),
    ("consul.hashicorp.com", "Consul"),
];
/// Labels by which a namespace asks another mesh for sidecars, with the value that asks.
const ASKING: [(&str, &str); 4] = [
    ("istio-injection", "enabled"),
    ("istio.io/dataplane-mode", "ambient"),
    ("linkerd.io/inject", "enabled"),
    ("kuma.io/sidecar-injection", "enabled"),
];

pub(super) fn version(facts: &Facts) -> Verdict {
    look(facts, |cluster| {
        let (major, minor) = &cluster.version;
        if let Err(error) = supported(major, minor) {
            return vec![Finding::fault(
                format!("the cluster is Kubernetes {major}.{minor}"),
                error.to_string(),
                format!("upgrade it to 1.{OLDEST} or newer"),
            )];
        }
        let number = minor
            .trim_end_matches(|next: char| !next.is_ascii_digit())
            .parse();
        if number.is_ok_and(|number: u32| number <= NEWEST) {
            return Vec::new();
        }
        vec![Finding::warning(
            format!("the cluster is Kubernetes {major}.{minor}"),
            format!("the newest that this version was tried with is 1.{NEWEST}"),
            "try it where it may fail, or use a newer meshctl",
        )]
    })
}

pub(super) fn rights(facts: &Facts) -> Verdict {
    let missing = facts
        .cluster
        .as_ref()
        .and_then(|cluster| cluster.missing_rights.as_ref());
    let Some(missing) = missing else {
        return Verdict::Blind;
    };
    if missing.is_empty() {
        return Verdict::Looked(Vec::new());
    }
    Verdict::Looked(vec![Finding::fault(
        "these credentials may not install a mesh",
        format!("missing: {}", missing.join("; ")),
        "ask for these rights, or install as an administrator of the cluster (ClusterRole \
         cluster-admin)",
    )])
}

pub(super) fn gateway_api(facts: &Facts) -> Verdict {
    look(facts, |cluster| {
        let lacks = gateway::lacks(&cluster.definitions).into_iter();
        lacks
            .map(|lack| Finding::warning(lack.what, lack.cause, lack.fix))
            .collect()
    })
}

pub(super) fn pod_security(facts: &Facts) -> Verdict {
    look(facts, |cluster| {
        let is_strict = |namespace: &&Value| {
            let labels = &namespace["metadata"]["labels"];
            let level = text(labels, "pod-security.kubernetes.io/enforce");
            matches!(level, "baseline" | "restricted")
                && text(&namespace["metadata"], "name") != "mesh-system"
        };
        let strict = cluster.objects.namespaces.iter().filter(is_strict);
        let names: Vec<&str> = strict.map(|one| text(&one["metadata"], "name")).collect();
        if names.is_empty() {
            return Vec::new();
        }
        vec![Finding::warning(
            format!(
                "Pod Security of {} allows no container with NET_ADMIN",
                names.join(", ")
            ),
            "the init container that captures traffic needs it: their pods would be refused",
            "meshctl install --cni, which captures from the node",
        )]
    })
}

pub(super) fn network(facts: &Facts) -> Verdict {
    look(facts, |cluster| {
        let Some(settings) = &cluster.cilium else {
            return Vec::new();
        };
        let data = &settings["data"];
        let is_on = |key: &str| text(data, key) == "true";
        if (is_on("bpf-lb-sock") || is_on("kube-proxy-replacement"))
            && !is_on("bpf-lb-sock-hostns-only")
        {
            return vec![Finding::fault(
                "Cilium chooses an endpoint inside the pod, at connect",
                "a sidecar then sees the endpoint's address in place of the Service's: routes do not \
                 apply",
                "set Cilium's socketLB.hostNamespaceOnly=true and restart its agents",
            )];
        }
        Vec::new()
    })
}

pub(super) fn other_meshes(facts: &Facts) -> Verdict {
    look(facts, |cluster| {
        let mut found = Vec::new();
        for (group, mesh) in MESHES {
            let is_of = |one: &Value| {
                let name = text(&one["spec"], "group");
                name == group
                    || name
                        .strip_suffix(group)
                        .is_some_and(|rest| rest.ends_with('.'))
            };
            if cluster.definitions.iter().any(is_of) {
                found.push(Finding::warning(
                    format!("{mesh} has definitions in this cluster"),
                    "two meshes live side by side as long as no pod is in both",
                    "docs/guide/kubernetes.md says how to move namespace by namespace",
                ));
            }
        }
        for namespace in &cluster.objects.namespaces {
            let labels = &namespace["metadata"]["labels"];
            let other = ASKING
                .iter()
                .find(|(key, value)| text(labels, key) == *value);
            let Some((key, value)) = other.filter(|_| text(labels, "mesh.dev/inject") == "enabled")
            else {
                continue;
            };
            let name = text(&namespace["metadata"], "name");
            found.push(Finding::fault(
                format!("namespace {name} asks two meshes for sidecars"),
                format!("it has mesh.dev/inject=enabled and {key}={value}: both would capture"),
                format!("kubectl label namespace {name} {key}-"),
            ));
        }
        found
    })
}

pub(super) fn not_installed(facts: &Facts) -> Verdict {
    look(facts, |cluster| {
        let Some(version) = &cluster.installed else {
            return Vec::new();
        };
        vec![Finding::warning(
            format!("mesh {version} is installed"),
            "these checks are for before an installation",
            "`meshctl check` looks at the mesh; `meshctl upgrade` brings another version",
        )]
    })
}

fn look(facts: &Facts, find: impl FnOnce(&Cluster) -> Vec<Finding>) -> Verdict {
    match &facts.cluster {
        Some(cluster) => Verdict::Looked(find(cluster)),
        None => Verdict::Blind,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::finding::Severity::{Fault, Warning};
    use super::super::report::tests::{good, severities};
    use super::*;

    fn with(change: impl FnOnce(&mut Cluster)) -> Facts {
        let mut facts = good();
        change(facts.cluster.as_mut().unwrap());
        facts
    }

    #[test]
    fn each_trouble_is_found() {
        let namespace = |labels: Value| json!({"metadata": {"name": "a", "labels": labels}});
        let old = with(|cluster| cluster.version = ("1".into(), "30".into()));
        assert_eq!(severities(&version(&old)), [Fault]);
        let new = with(|cluster| cluster.version = ("1".into(), "99+".into()));
        assert_eq!(severities(&version(&new)), [Warning]);
        let poor = with(|cluster| cluster.missing_rights = Some(vec!["x: get".into()]));
        assert_eq!(severities(&rights(&poor)), [Fault]);
        let strict = with(|cluster| {
            let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
            cluster.objects.namespaces = vec![namespace(labels)];
        });
        assert_eq!(severities(&pod_security(&strict)), [Warning]);
        let cilium = |only: &str| {
            with(|cluster| {
                let data = json!({"bpf-lb-sock": "true", "bpf-lb-sock-hostns-only": only});
                cluster.cilium = Some(json!({"data": data}));
            })
        };
        assert_eq!(severities(&network(&cilium("false"))), [Fault]);
        assert_eq!(severities(&network(&cilium("true"))), []);
        let both = with(|cluster| {
            cluster
                .definitions
                .push(json!({"spec": {"group": "networking.istio.io"}}));
            let labels = json!({"istio-injection": "enabled", "mesh.dev/inject": "enabled"});
            cluster.objects.namespaces = vec![namespace(labels)];
        });
        assert_eq!(severities(&other_meshes(&both)), [Warning, Fault]);
        let there = with(|cluster| cluster.installed = Some("0.0.9".into()));
        assert_eq!(severities(&not_installed(&there)), [Warning]);
    }

    #[test]
    fn the_gateway_api_is_judged_by_its_version_and_what_is_missing() {
        let version = |said: &str| {
            with(|cluster| {
                for definition in &mut cluster.definitions {
                    definition["metadata"]["annotations"] =
                        json!({"gateway.networking.k8s.io/bundle-version": said});
                }
            })
        };
        for (said, count) in [
            ("v1.6.0", 0),
            ("v1.6.9", 0),
            ("v1.5.1", 1),
            ("v1.7.0", 1),
            ("", 1),
        ] {
            let found = severities(&gateway_api(&version(said)));
            assert_eq!(found.len(), count, "{said}");
        }
        let none = with(|cluster| cluster.definitions.clear());
        let Verdict::Looked(found) = gateway_api(&none) else {
            unreachable!("there is a cluster")
        };
        assert!(
            found[0].fix.starts_with("kubectl apply --server-side"),
            "{found:?}"
        );
    }

    #[test]
    fn without_a_cluster_nothing_is_looked_at() {
        let mut facts = good();
        facts.cluster = None;
        for check in [
            version,
            rights,
            gateway_api,
            pod_security,
            network,
            other_meshes,
            not_installed,
        ] {
            assert_eq!(check(&facts), Verdict::Blind);
        }
    }
}
