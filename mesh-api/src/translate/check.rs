//! Resources to checked values: every fault of a resource at once, each with its field path.

use crate::error::{Faults, Invalid};
use crate::name::{Namespace, ObjectName};
use crate::resource::{Resource, ResourceKey};
use crate::translate::check_reference::is_foreign;
use crate::translate::checked::{Checked, CheckedRoute};
use crate::translate::{
    check_authorization, check_connection, check_extension, check_grpc, check_pod, check_policy,
    check_ratelimit, check_route, check_service, check_slice, check_workload,
};

/// Checks a resource.
///
/// # Errors
/// All its faults, in the order of its fields.
pub(super) fn check(resource: &Resource) -> Result<(ResourceKey, Checked), Vec<Invalid>> {
    let key = resource.key().map_err(|fault| vec![fault])?;
    if let Some(route) = foreign(resource) {
        return Ok((key, Checked::Route(route)));
    }
    let mut faults = Faults::default();
    let checked = match resource {
        Resource::Mesh(mesh) => {
            check_policy::mesh(mesh, &mut faults).map(|mesh| Checked::Mesh(Box::new(mesh)))
        }
        Resource::Namespace(_) => Some(Checked::Namespace),
        Resource::Service(service) => {
            check_service::service(service, &mut faults).map(Checked::Service)
        }
        Resource::EndpointSlice(slice) => {
            check_slice::slice(slice, &namespace(&key), &mut faults).map(Checked::EndpointSlice)
        }
        Resource::Pod(pod) => {
            let name = ObjectName::new(namespace(&key), key.name.clone());
            check_pod::pod(pod, name, &mut faults).map(Checked::Pod)
        }
        Resource::Workload(workload) => {
            let name = ObjectName::new(namespace(&key), key.name.clone());
            check_workload::workload(workload, name, &mut faults).map(Checked::Workload)
        }
        Resource::HTTPRoute(route) => {
            check_route::route(route, &namespace(&key), &mut faults).map(Checked::Route)
        }
        Resource::GRPCRoute(route) => {
            check_grpc::route(route, &namespace(&key), &mut faults).map(Checked::Route)
        }
        Resource::TLSRoute(route) => {
            check_connection::tls(route, &namespace(&key), &mut faults).map(Checked::Route)
        }
        Resource::TCPRoute(route) => {
            check_connection::tcp(route, &namespace(&key), &mut faults).map(Checked::Route)
        }
        Resource::TrafficPolicy(policy) => {
            check_policy::traffic(policy, &namespace(&key), &mut faults).map(Checked::TrafficPolicy)
        }
        Resource::MutualTLSPolicy(policy) => {
            check_policy::mutual_tls(policy, &namespace(&key), &mut faults)
                .map(Checked::MutualTLSPolicy)
        }
        Resource::AuthorizationPolicy(policy) => {
            check_authorization::authorization(policy, &namespace(&key), &mut faults)
                .map(Checked::AuthorizationPolicy)
        }
        Resource::RateLimitPolicy(policy) => {
            check_ratelimit::rate_limits(policy, &namespace(&key), &mut faults)
                .map(Checked::RateLimitPolicy)
        }
        Resource::RouteMatch(object) => {
            check_extension::route_match(object, &mut faults).map(Checked::RouteMatch)
        }
        Resource::DirectResponse(object) => {
            let name = ObjectName::new(namespace(&key), key.name.clone());
            check_extension::direct_response(object, name, &mut faults).map(Checked::DirectResponse)
        }
    };
    match (faults.is_empty(), checked) {
        (true, Some(checked)) => Ok((key, checked)),
        (true, None) => Err(vec![Invalid::new("spec", "is not complete")]),
        (false, _) => Err(faults.into_vec()),
    }
}

/// A route whose parents are all Gateways: whatever else it says is for their controllers.
fn foreign(resource: &Resource) -> Option<CheckedRoute> {
    let parents = match resource {
        Resource::HTTPRoute(route) => &route.spec.parent_refs,
        Resource::GRPCRoute(route) => &route.spec.parent_refs,
        Resource::TLSRoute(route) => &route.spec.parent_refs,
        Resource::TCPRoute(route) => &route.spec.parent_refs,
        _ => return None,
    };
    is_foreign(parents).then(|| CheckedRoute::foreign(resource.kind()))
}

/// The namespace of a namespaced resource's key.
fn namespace(key: &ResourceKey) -> Namespace {
    key.namespace.clone().unwrap_or_else(default_namespace)
}

#[expect(clippy::expect_used, reason = "the text is a namespace")]
fn default_namespace() -> Namespace {
    "default".parse().expect("default is a namespace")
}

/// Refuses a field that is set but does not work yet.
pub(super) fn not_yet(faults: &mut Faults, field: &str, is_set: bool) {
    if is_set {
        faults.field(field, |faults| faults.refuse("is not supported yet"));
    }
}

/// True if a JSON field holds something: an empty object or list asks for nothing.
pub(super) fn asks(value: Option<&serde_json::Value>) -> bool {
    use serde_json::Value;
    match value {
        None | Some(Value::Null) => false,
        Some(Value::Object(map)) => map.values().any(|value| asks(Some(value))),
        Some(Value::Array(list)) => !list.is_empty(),
        Some(_) => true,
    }
}
