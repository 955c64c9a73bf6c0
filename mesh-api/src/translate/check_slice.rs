//! Checks of `EndpointSlice`s.

use std::collections::BTreeMap;

use k8s_openapi::api::discovery::v1 as discovery;

use crate::error::Faults;
use crate::model::locality::MAX_PLACE;
use crate::name::{Name, Namespace, ObjectName, Port};
use crate::translate::check_service::address;
use crate::translate::checked::{CheckedSlice, Serving, SliceEndpoint};

/// The label that names an `EndpointSlice`'s Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Checks an `EndpointSlice`. Addresses that do not serve are left out.
pub(super) fn slice(
    slice: &discovery::EndpointSlice,
    namespace: &Namespace,
    faults: &mut Faults,
) -> Option<CheckedSlice> {
    let label = slice
        .metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(SERVICE_NAME));
    let service = label.and_then(|name| {
        faults
            .field("metadata.labels", |faults| faults.take(name.parse()))
            .map(|name| ObjectName::new(namespace.clone(), name))
    });
    if slice.address_type == "FQDN" {
        faults.field("addressType", |faults| {
            faults.refuse("FQDN is not supported yet");
        });
        return None;
    }
    let ports = faults.field("ports", |faults| ports(slice, faults));
    let endpoints = faults.field("endpoints", |faults| {
        let mut endpoints = Vec::new();
        for (index, endpoint) in slice.endpoints.iter().enumerate() {
            faults.index(index, |faults| {
                faults.field("addresses", |faults| {
                    let texts = endpoint.addresses.iter();
                    let addresses = texts.filter_map(|text| address(text, faults));
                    let (pod, serving) = (pod(endpoint), serving(endpoint));
                    endpoints.extend(addresses.filter_map(|address| {
                        Some(SliceEndpoint {
                            address,
                            pod: pod.clone(),
                            serving: serving?,
                            zone: zone(endpoint),
                        })
                    }));
                });
            });
        }
        endpoints
    });
    Some(CheckedSlice {
        service,
        ports,
        endpoints,
    })
}

/// Whether an endpoint serves (`EndpointConditions`: what is not said of `ready` is true, of `serving`
/// as `ready` says, of `terminating` false).
fn serving(endpoint: &discovery::Endpoint) -> Option<Serving> {
    let conditions = endpoint.conditions.clone().unwrap_or_default();
    let ready = conditions.ready != Some(false);
    let serving = conditions.serving.unwrap_or(ready);
    match (ready, serving, conditions.terminating == Some(true)) {
        (true, ..) => Some(Serving::Ready),
        (false, true, true) => Some(Serving::Leaving),
        (false, ..) => None,
    }
}

/// What is no zone by its length is none.
fn zone(endpoint: &discovery::Endpoint) -> String {
    let zone = endpoint.zone.clone().unwrap_or_default();
    if zone.len() > MAX_PLACE {
        String::new()
    } else {
        zone
    }
}

fn pod(endpoint: &discovery::Endpoint) -> Option<Name> {
    let target = endpoint.target_ref.as_ref();
    let pod = target.filter(|target| target.kind.as_deref() == Some("Pod"))?;
    pod.name.as_deref()?.parse().ok()
}

fn ports(slice: &discovery::EndpointSlice, faults: &mut Faults) -> BTreeMap<String, Port> {
    let mut ports = BTreeMap::new();
    for (index, port) in slice.ports.iter().flatten().enumerate() {
        if !matches!(port.protocol.as_deref(), None | Some("TCP")) {
            continue;
        }
        if let Some(number) = port.port {
            let number = faults.index(index, |faults| {
                faults.field("port", |faults| faults.take(Port::try_from(number)))
            });
            ports.extend(number.map(|number| (port.name.clone().unwrap_or_default(), number)));
        }
    }
    ports
}
