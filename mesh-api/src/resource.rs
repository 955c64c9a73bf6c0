//! What users write: the Gateway API, core Kubernetes kinds and our own, for serde and schemas only.
//!
//! Nothing here is checked beyond its shape; meaning is given by `translate`. May use `error` and
//! `name`.

pub mod affinity;
pub mod authorization;
pub mod breaker;
pub mod duration;
pub mod extension;
pub mod fault;
pub mod grpcroute;
pub mod health;
pub mod httproute;
pub mod locality;
pub mod mesh;
pub mod mtls;
pub mod object;
pub mod outlier;
pub mod pod;
pub mod ratelimit;
pub mod reference;
pub mod session;
pub mod tcproute;
pub mod traffic;
pub mod workload;

use std::fmt;
use std::str::FromStr;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::error::Invalid;
use crate::name::{Name, Namespace, ObjectName};
pub use authorization::AuthorizationPolicy;
pub use extension::{DirectResponse, RouteMatch};
pub use grpcroute::GRPCRoute;
pub use httproute::HTTPRoute;
pub use mesh::Mesh;
pub use mtls::MutualTLSPolicy;
pub use object::{Labels, Object, TargetRef};
pub use pod::Pod;
pub use ratelimit::RateLimitPolicy;
pub use tcproute::{TCPRoute, TLSRoute};
pub use traffic::TrafficPolicy;
pub use workload::Workload;

/// The API version of our own kinds.
pub const MESH_API_VERSION: &str = "mesh.dev/v1alpha1";
/// The API version of the Gateway API's kinds.
pub const GATEWAY_API_VERSION: &str = "gateway.networking.k8s.io/v1";

/// A kind that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Mesh-wide settings.
    Mesh,
    /// Core `Namespace`.
    Namespace,
    /// Core `Service`.
    Service,
    /// `discovery.k8s.io/v1` `EndpointSlice`.
    EndpointSlice,
    /// Core `Pod`.
    Pod,
    /// A running instance outside Kubernetes.
    Workload,
    /// Gateway API `HTTPRoute`.
    HTTPRoute,
    /// Gateway API `GRPCRoute`.
    GRPCRoute,
    /// Gateway API `TLSRoute`.
    TLSRoute,
    /// Gateway API `TCPRoute`.
    TCPRoute,
    /// Client-side settings.
    TrafficPolicy,
    /// The receiving side's mTLS mode.
    MutualTLSPolicy,
    /// Who may call.
    AuthorizationPolicy,
    /// How much a workload takes.
    RateLimitPolicy,
    /// Narrows rules of routes.
    RouteMatch,
    /// Answers for rules of routes.
    DirectResponse,
}

impl Kind {
    /// Every kind, in the order they are listed to a user.
    pub const ALL: [Self; 16] = [
        Self::Mesh,
        Self::Namespace,
        Self::Service,
        Self::EndpointSlice,
        Self::Pod,
        Self::Workload,
        Self::HTTPRoute,
        Self::GRPCRoute,
        Self::TLSRoute,
        Self::TCPRoute,
        Self::TrafficPolicy,
        Self::MutualTLSPolicy,
        Self::AuthorizationPolicy,
        Self::RateLimitPolicy,
        Self::RouteMatch,
        Self::DirectResponse,
    ];

    /// As `kind` says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mesh => "Mesh",
            Self::Namespace => "Namespace",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Pod => "Pod",
            Self::Workload => "Workload",
            Self::HTTPRoute => "HTTPRoute",
            Self::GRPCRoute => "GRPCRoute",
            Self::TLSRoute => "TLSRoute",
            Self::TCPRoute => "TCPRoute",
            Self::TrafficPolicy => "TrafficPolicy",
            Self::MutualTLSPolicy => "MutualTLSPolicy",
            Self::AuthorizationPolicy => "AuthorizationPolicy",
            Self::RateLimitPolicy => "RateLimitPolicy",
            Self::RouteMatch => "RouteMatch",
            Self::DirectResponse => "DirectResponse",
        }
    }

    /// As `apiVersion` says it.
    pub const fn api_version(self) -> &'static str {
        match self {
            Self::Namespace | Self::Service | Self::Pod => "v1",
            Self::EndpointSlice => "discovery.k8s.io/v1",
            Self::HTTPRoute | Self::GRPCRoute | Self::TLSRoute | Self::TCPRoute => {
                GATEWAY_API_VERSION
            }
            Self::Mesh
            | Self::Workload
            | Self::TrafficPolicy
            | Self::MutualTLSPolicy
            | Self::AuthorizationPolicy
            | Self::RateLimitPolicy
            | Self::RouteMatch
            | Self::DirectResponse => MESH_API_VERSION,
        }
    }

    /// True if its objects are in a namespace.
    pub const fn is_namespaced(self) -> bool {
        !matches!(self, Self::Mesh | Self::Namespace)
    }

    /// The kind of an object, by what its first two fields say.
    ///
    /// # Errors
    /// At `kind` or `apiVersion`: unknown (with the nearest known), or known but not supported yet.
    pub fn of(api_version: &str, kind: &str) -> Result<Self, Invalid> {
        if kind.is_empty() {
            return Err(Invalid::new("kind", "is missing"));
        }
        if let Some(known) = Self::ALL.into_iter().find(|known| known.as_str() == kind) {
            let expected = known.api_version();
            if api_version == expected {
                return Ok(known);
            }
            let said = if api_version.is_empty() {
                "is missing".to_owned()
            } else {
                format!("{api_version:?} is not known")
            };
            return Err(Invalid::new(
                "apiVersion",
                format!("{said}; {kind} is of {expected:?}"),
            ));
        }
        if NOT_YET.contains(&kind) {
            return Err(Invalid::new(
                "kind",
                format!("kind {kind} is not supported yet"),
            ));
        }
        let names = Self::ALL.map(Self::as_str);
        let hint = nearest(kind, &names).map_or_else(
            || format!("known are {}", names.join(", ")),
            |near| format!("did you mean {near:?}?"),
        );
        let shown: String = kind.chars().take(80).collect();
        Err(Invalid::new(
            "kind",
            format!("kind {shown:?} is not known; {hint}"),
        ))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| format!("{text:?} is not a kind"))
    }
}

/// Kinds that are planned or belong to the Gateway API, refused with a reason of their own.
const NOT_YET: [&str; 10] = [
    "ExternalService",
    "RequestAuthentication",
    "Telemetry",
    "UDPRoute",
    "Gateway",
    "GatewayClass",
    "ListenerSet",
    "ReferenceGrant",
    "BackendTLSPolicy",
    "Secret",
];

/// What names a resource: `HTTPRoute demo/catalog`, or `Mesh default` without a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceKey {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace, unless the kind is cluster-scoped.
    pub namespace: Option<Namespace>,
    /// Its name.
    pub name: Name,
}

impl ResourceKey {
    /// The key of a namespaced object.
    pub fn namespaced(kind: Kind, object: ObjectName) -> Self {
        Self {
            kind,
            namespace: Some(object.namespace),
            name: object.name,
        }
    }

    /// `namespace/name`, if it has a namespace.
    pub fn object(&self) -> Option<ObjectName> {
        let namespace = self.namespace.clone()?;
        Some(ObjectName::new(namespace, self.name.clone()))
    }
}

impl fmt::Display for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

/// An object of any kind that is read. It serialises as the object alone.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(untagged)]
pub enum Resource {
    /// Mesh-wide settings.
    Mesh(Box<Mesh>),
    /// Core `Namespace`.
    Namespace(Box<core::Namespace>),
    /// Core `Service`.
    Service(Box<core::Service>),
    /// `EndpointSlice`.
    EndpointSlice(Box<discovery::EndpointSlice>),
    /// Core `Pod`.
    Pod(Box<Pod>),
    /// A running instance outside Kubernetes.
    Workload(Box<Workload>),
    /// Gateway API `HTTPRoute`.
    HTTPRoute(Box<HTTPRoute>),
    /// Gateway API `GRPCRoute`.
    GRPCRoute(Box<GRPCRoute>),
    /// Gateway API `TLSRoute`.
    TLSRoute(Box<TLSRoute>),
    /// Gateway API `TCPRoute`.
    TCPRoute(Box<TCPRoute>),
    /// Client-side settings.
    TrafficPolicy(Box<TrafficPolicy>),
    /// The receiving side's mTLS mode.
    MutualTLSPolicy(Box<MutualTLSPolicy>),
    /// Who may call.
    AuthorizationPolicy(Box<AuthorizationPolicy>),
    /// How much a workload takes.
    RateLimitPolicy(Box<RateLimitPolicy>),
    /// Narrows rules of routes.
    RouteMatch(Box<RouteMatch>),
    /// Answers for rules of routes.
    DirectResponse(Box<DirectResponse>),
}

impl Resource {
    /// Reads an object by its `apiVersion` and `kind`.
    ///
    /// # Errors
    /// An unknown or unsupported kind, an unknown field of a kind of ours or of the Gateway API, or
    /// a value of the wrong type. Serde stops at the first of them.
    pub fn from_value(value: serde_json::Value) -> Result<Self, Invalid> {
        let text = |field: &str| {
            value
                .get(field)
                .and_then(serde_json::Value::as_str)
                .unwrap_or_default()
        };
        let kind = Kind::of(text("apiVersion"), text("kind"))?;
        Self::read(kind, value).map_err(|error| Invalid::new("", suggest(&error.to_string())))
    }

    /// Reads an object of `kind` from any serde format.
    ///
    /// # Errors
    /// Those of the format.
    pub fn read<'de, D: serde::Deserializer<'de>>(kind: Kind, from: D) -> Result<Self, D::Error> {
        use serde::Deserialize;
        Ok(match kind {
            Kind::Mesh => Self::Mesh(Box::deserialize(from)?),
            Kind::Namespace => Self::Namespace(Box::deserialize(from)?),
            Kind::Service => Self::Service(Box::deserialize(from)?),
            Kind::EndpointSlice => Self::EndpointSlice(Box::deserialize(from)?),
            Kind::Pod => Self::Pod(Box::deserialize(from)?),
            Kind::Workload => Self::Workload(Box::deserialize(from)?),
            Kind::HTTPRoute => Self::HTTPRoute(Box::deserialize(from)?),
            Kind::GRPCRoute => Self::GRPCRoute(Box::deserialize(from)?),
            Kind::TLSRoute => Self::TLSRoute(Box::deserialize(from)?),
            Kind::TCPRoute => Self::TCPRoute(Box::deserialize(from)?),
            Kind::TrafficPolicy => Self::TrafficPolicy(Box::deserialize(from)?),
            Kind::MutualTLSPolicy => Self::MutualTLSPolicy(Box::deserialize(from)?),
            Kind::AuthorizationPolicy => Self::AuthorizationPolicy(Box::deserialize(from)?),
            Kind::RateLimitPolicy => Self::RateLimitPolicy(Box::deserialize(from)?),
            Kind::RouteMatch => Self::RouteMatch(Box::deserialize(from)?),
            Kind::DirectResponse => Self::DirectResponse(Box::deserialize(from)?),
        })
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Mesh(_) => Kind::Mesh,
            Self::Namespace(_) => Kind::Namespace,
            Self::Service(_) => Kind::Service,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::Pod(_) => Kind::Pod,
            Self::Workload(_) => Kind::Workload,
            Self::HTTPRoute(_) => Kind::HTTPRoute,
            Self::GRPCRoute(_) => Kind::GRPCRoute,
            Self::TLSRoute(_) => Kind::TLSRoute,
            Self::TCPRoute(_) => Kind::TCPRoute,
            Self::TrafficPolicy(_) => Kind::TrafficPolicy,
            Self::MutualTLSPolicy(_) => Kind::MutualTLSPolicy,
            Self::AuthorizationPolicy(_) => Kind::AuthorizationPolicy,
            Self::RateLimitPolicy(_) => Kind::RateLimitPolicy,
            Self::RouteMatch(_) => Kind::RouteMatch,
            Self::DirectResponse(_) => Kind::DirectResponse,
        }
    }

    /// Its metadata.
    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::Mesh(object) => &object.metadata,
            Self::Namespace(object) => &object.metadata,
            Self::Service(object) => &object.metadata,
            Self::EndpointSlice(object) => &object.metadata,
            Self::Pod(object) => &object.metadata,
            Self::Workload(object) => &object.metadata,
            Self::HTTPRoute(object) => &object.metadata,
            Self::GRPCRoute(object) => &object.metadata,
            Self::TLSRoute(object) => &object.metadata,
            Self::TCPRoute(object) => &object.metadata,
            Self::TrafficPolicy(object) => &object.metadata,
            Self::MutualTLSPolicy(object) => &object.metadata,
            Self::AuthorizationPolicy(object) => &object.metadata,
            Self::RateLimitPolicy(object) => &object.metadata,
            Self::RouteMatch(object) => &object.metadata,
            Self::DirectResponse(object) => &object.metadata,
        }
    }

    /// What names it; the namespace is `default` where none is given.
    ///
    /// # Errors
    /// At `metadata.name` or `metadata.namespace`: missing, or not a name.
    pub fn key(&self) -> Result<ResourceKey, Invalid> {
        let (kind, metadata) = (self.kind(), self.metadata());
        let name = metadata
            .name
            .as_deref()
            .ok_or_else(|| Invalid::new("metadata.name", "is missing"))?;
        let name = name.parse().map_err(|error: crate::name::BadName| {
            Invalid::new("metadata.name", error.to_string())
        })?;
        let namespace = if kind.is_namespaced() {
            let text = metadata.namespace.as_deref().unwrap_or("default");
            Some(text.parse().map_err(|error: crate::name::BadName| {
                Invalid::new("metadata.namespace", error.to_string())
            })?)
        } else {
            None
        };
        Ok(ResourceKey {
            kind,
            namespace,
            name,
        })
    }

    /// When it was created, in seconds since the epoch; 0 if it does not say.
    pub fn created(&self) -> i64 {
        self.metadata()
            .creation_timestamp
            .as_ref()
            .map_or(0, |time| time.0.as_second())
    }
}

/// Adds "did you mean" to serde's texts about an unknown field or variant.
pub fn suggest(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = message.contains("unknown field") || message.contains("unknown variant");
    let (Some(given), true) = (quoted.next(), unknown) else {
        return message.to_owned();
    };
    let known: Vec<&str> = quoted.collect();
    match nearest(given, &known) {
        Some(near) => format!("{message}; did you mean `{near}`?"),
        None => message.to_owned(),
    }
}

/// The text of `known` that `given` most likely stands for: at most a third of it is wrong.
pub fn nearest<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    let given: Vec<char> = given
        .chars()
        .take(64)
        .flat_map(char::to_lowercase)
        .collect();
    known
        .iter()
        .map(|text| {
            let chars: Vec<char> = text.chars().flat_map(char::to_lowercase).collect();
            (edits(&given, &chars), text)
        })
        .min()
        .filter(|(edits, text)| *edits <= (text.len() / 3).max(1))
        .map(|(_, text)| *text)
}

/// The Levenshtein distance.
fn edits(left: &[char], right: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.iter().enumerate() {
        let mut diagonal = i;
        let mut previous = i + 1;
        for (cell, r) in row.iter_mut().skip(1).zip(right) {
            let changed = diagonal + usize::from(l != r);
            diagonal = *cell;
            previous = changed.min(previous + 1).min(*cell + 1);
            *cell = previous;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests;
