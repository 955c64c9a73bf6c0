//! What is watched, and what each watch is for. May use `object` and `index`.

use ipnet::IpNet;
use kube::core::{ApiResource, GroupVersion};
use mesh_api::resource::Kind;

use crate::index::ObjectChange;
use crate::kubernetes::object::Object;

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Topic {
    /// A kind of the index.
    Kind(Kind),
    /// Nodes, for the addresses of their pods.
    Nodes,
    /// Ranges of virtual IPs.
    ServiceCIDRs,
}

impl std::fmt::Display for Topic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kind(kind) => kind.fmt(f),
            Self::Nodes => f.write_str("Node"),
            Self::ServiceCIDRs => f.write_str("ServiceCIDR"),
        }
    }
}

/// What a watched object says.
#[derive(Debug)]
pub(super) enum Item {
    /// A resource of the index.
    Object(ObjectChange),
    /// The address ranges of the object of this name; none if it is gone.
    Ranges(String, Vec<IpNet>),
}

impl Topic {
    /// Everything that is watched if the API server has it.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let kinds = Kind::ALL.into_iter().map(Self::Kind);
        kinds.chain([Self::Nodes, Self::ServiceCIDRs])
    }

    /// True if every API server has it; of the others it is asked.
    pub(super) fn is_core(self) -> bool {
        match self {
            Self::Kind(kind) => matches!(kind.api_version(), "v1" | "discovery.k8s.io/v1"),
            Self::Nodes => true,
            Self::ServiceCIDRs => false,
        }
    }

    /// Its group and version.
    pub(super) fn api_version(self) -> &'static str {
        match self {
            Self::Kind(kind) => kind.api_version(),
            Self::Nodes => "v1",
            Self::ServiceCIDRs => "networking.k8s.io/v1",
        }
    }

    /// Its kind in the API.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Kind(kind) => kind.as_str(),
            Self::Nodes => "Node",
            Self::ServiceCIDRs => "ServiceCIDR",
        }
    }

    /// Its name in paths of the API.
    pub(super) fn plural(self) -> String {
        match self {
            Self::Kind(Kind::Mesh) => "meshes".into(),
            Self::Kind(Kind::RouteMatch) => "routematches".into(),
            Self::Kind(kind) if kind.as_str().ends_with("Policy") => {
                let stem = kind.as_str().trim_end_matches('y').to_ascii_lowercase();
                format!("{stem}ies")
            }
            _ => format!("{}s", self.kind().to_ascii_lowercase()),
        }
    }

    /// Where it is in the API.
    pub(super) fn resource(self) -> ApiResource {
        let (group, version) = match self.api_version().split_once('/') {
            Some((group, version)) => (group, version),
            None => ("", self.api_version()),
        };
        let of = GroupVersion::gv(group, version);
        ApiResource::from_gvk_with_plural(&of.with_kind(self.kind()), &self.plural())
    }

    /// The name of its CustomResourceDefinition.
    pub(super) fn definition(self) -> String {
        let group = self.api_version().split('/').next().unwrap_or_default();
        format!("{}.{group}", self.plural())
    }

    /// What an object that is there says.
    pub(super) fn present(self, object: Object) -> Option<Item> {
        match self {
            Self::Kind(kind) => object.present(kind).map(Item::Object),
            Self::Nodes => Some(Item::Ranges(object.name(), ranges(&object, "podCIDRs"))),
            Self::ServiceCIDRs => Some(Item::Ranges(object.name(), ranges(&object, "cidrs"))),
        }
    }

    /// What it says that an object is gone.
    pub(super) fn absent(self, object: &Object) -> Option<Item> {
        match self {
            Self::Kind(kind) => object.absent(kind).map(Item::Object),
            Self::Nodes | Self::ServiceCIDRs => Some(Item::Ranges(object.name(), Vec::new())),
        }
    }
}

fn ranges(object: &Object, field: &str) -> Vec<IpNet> {
    let texts = object.list(field).into_iter();
    texts.filter_map(|text| text.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_found_where_the_api_has_them() {
        let place = |topic: Topic| {
            let of = topic.resource();
            format!("{} {}", of.api_version, of.plural)
        };
        let kind = |kind| place(Topic::Kind(kind));
        assert_eq!(kind(Kind::Service), "v1 services");
        assert_eq!(
            kind(Kind::EndpointSlice),
            "discovery.k8s.io/v1 endpointslices"
        );
        assert_eq!(
            kind(Kind::HTTPRoute),
            "gateway.networking.k8s.io/v1 httproutes"
        );
        assert_eq!(kind(Kind::Mesh), "mesh.dev/v1alpha1 meshes");
        assert_eq!(
            kind(Kind::MutualTLSPolicy),
            "mesh.dev/v1alpha1 mutualtlspolicies"
        );
        assert_eq!(
            place(Topic::ServiceCIDRs),
            "networking.k8s.io/v1 servicecidrs"
        );
        assert_eq!(kind(Kind::RouteMatch), "mesh.dev/v1alpha1 routematches");
        assert_eq!(
            kind(Kind::DirectResponse),
            "mesh.dev/v1alpha1 directresponses"
        );
        let route = Topic::Kind(Kind::TCPRoute);
        assert_eq!(route.definition(), "tcproutes.gateway.networking.k8s.io");
    }
}
