//! Whether the cluster has the Gateway API's definitions, of a version that is understood. They belong
//! to the cluster and not to any mesh: they are looked at, never installed.

use serde_json::Value;

use crate::render::note;
use crate::source::cluster::Cluster;
use crate::source::json::text;

/// The group of the Gateway API.
const GROUP: &str = "gateway.networking.k8s.io";
/// The kinds of it that the mesh reads.
const KINDS: [&str; 5] = [
    "HTTPRoute",
    "GRPCRoute",
    "TLSRoute",
    "TCPRoute",
    "ReferenceGrant",
];
/// Where a definition says of which version it is.
const VERSION: &str = "gateway.networking.k8s.io/bundle-version";
/// The version of it that the mesh is made for.
const BUNDLE: (u32, u32) = (1, 6);
/// What installs it.
const INSTALL: &str = "kubectl apply --server-side -f https://github.com/kubernetes-sigs/gateway-api/releases/download/v1.6.1/standard-install.yaml";
/// Where the API server has definitions.
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// Something that is not as the mesh needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Advice {
    cause: &'static str,
    fix: &'static str,
}

/// Something of the Gateway API that is missing, or of another version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lack {
    /// What.
    pub(crate) what: String,
    /// What it means.
    pub(crate) cause: &'static str,
    /// What helps: a command, if one does.
    pub(crate) fix: &'static str,
}

/// Says, on standard error, what of the Gateway API is missing or of another version.
pub(crate) async fn tell(cluster: &Cluster) -> anyhow::Result<()> {
    for lack in lacks(&cluster.list(DEFINITIONS).await?) {
        note(&format!(
            "{}: {}\n    fix: {}",
            lack.what, lack.cause, lack.fix
        ));
    }
    Ok(())
}

/// What is missing, all in one; else each other version that there is.
pub(crate) fn lacks(definitions: &[Value]) -> Vec<Lack> {
    let of_kind = |kind: &&str| {
        definitions.iter().find(|one| {
            text(&one["spec"], "group") == GROUP && text(&one["spec"]["names"], "kind") == *kind
        })
    };
    let missing: Vec<&str> = KINDS
        .iter()
        .copied()
        .filter(|kind| of_kind(kind).is_none())
        .collect();
    if !missing.is_empty() {
        return vec![Lack {
            what: format!(
                "the cluster has no {} of the Gateway API",
                missing.join(", ")
            ),
            cause: "Services work without them; traffic cannot be routed by them",
            fix: INSTALL,
        }];
    }
    let mut by_version: Vec<(&str, Vec<&str>)> = Vec::new();
    for kind in KINDS {
        let said = of_kind(&kind).map_or("", |one| text(&one["metadata"]["annotations"], VERSION));
        match by_version.iter_mut().find(|(known, _)| *known == said) {
            Some((_, kinds)) => kinds.push(kind),
            None => by_version.push((said, vec![kind])),
        }
    }
    let other = |(said, kinds): &(&str, Vec<&str>)| bundle(said, &kinds.join(", "));
    by_version.iter().filter_map(other).collect()
}

/// Kinds whose definitions are of another version than the mesh is made for.
fn bundle(said: &str, kinds: &str) -> Option<Lack> {
    let mut numbers = said.trim_start_matches('v').split('.').map(str::parse);
    let version = match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Some((major, minor)),
        _ => None,
    };
    let Advice { cause, fix } = match version {
        Some(version) if version == BUNDLE => return None,
        Some(version) if version > BUNDLE => Advice {
            cause: "fields that came after 1.6 are refused on a route's status, never ignored",
            fix: "use a newer meshctl when there is one",
        },
        Some(_) => Advice {
            cause: "older definitions lack versions and fields that the mesh reads",
            fix: INSTALL,
        },
        None => Advice {
            cause: "they do not say which version they are of",
            fix: INSTALL,
        },
    };
    Some(Lack {
        what: format!("the Gateway API is {said:?} ({kinds}), and the mesh is made for v1.6"),
        cause,
        fix,
    })
}
