//! Checks of Workloads, and of numbers that several kinds hold.

use std::collections::BTreeMap;

use crate::error::Faults;
use crate::model::locality::{Locality, REGION_LABEL, ZONE_LABEL};
use crate::model::workload::Workload;
use crate::name::{Name, ObjectName, Port};
use crate::resource::workload::WorkloadProtocol;
use crate::resource::{self, Labels};
use crate::translate::check::{asks, not_yet};
use crate::translate::check_locality;
use crate::translate::check_service::address;

/// Where tunnels listen unless a Workload says otherwise.
const TUNNEL_PORT: i64 = 15008;

/// Checks a Workload.
pub(super) fn workload(
    workload: &resource::Workload,
    name: ObjectName,
    faults: &mut Faults,
) -> Option<Workload> {
    let spec = &workload.spec;
    faults.field("spec", |faults| {
        let address = faults.field("address", |faults| address(&spec.address, faults));
        let mut ports = BTreeMap::new();
        faults.field("ports", |faults| {
            for (name, number) in &spec.ports {
                let number = faults.field(name, |faults| port(*number, faults));
                ports.extend(number.map(|number| (name.clone(), number)));
            }
        });
        let account = spec.service_account.as_deref().unwrap_or("default");
        let service_account = faults.field("serviceAccount", |faults| {
            faults.take(account.parse::<Name>())
        });
        let tunnel = faults.field("tunnelPort", |faults| {
            port(spec.tunnel_port.unwrap_or(TUNNEL_PORT), faults)
        });
        let weight = faults.field("weight", |faults| {
            whole(spec.weight.unwrap_or(100), 1, 10_000, faults)
        });
        not_yet(
            faults,
            "network",
            spec.network
                .as_deref()
                .is_some_and(|network| network != "default"),
        );
        let locality = faults.field("locality", |faults| {
            let field = spec.locality.as_ref()?;
            check_locality::locality(field, faults)
        });
        not_yet(faults, "probe", asks(spec.probe.as_ref()));
        let in_mesh = spec.protocol != Some(WorkloadProtocol::None);
        Some(Workload {
            name,
            labels: labels(workload, locality),
            addresses: vec![address?],
            ports,
            container_ports: Vec::new(),
            service_account: service_account?,
            tunnel_port: if in_mesh { Some(tunnel?) } else { None },
            weight: weight?,
        })
    })
}

/// Its labels, with those that say where it runs.
fn labels(workload: &resource::Workload, locality: Option<Locality>) -> Labels {
    let given = workload.metadata.labels.clone().unwrap_or_default();
    let mut labels: Labels = given.into_iter().collect();
    if let Some(Locality { region, zone }) = locality {
        labels.insert(REGION_LABEL.to_owned(), region);
        if zone.is_empty() {
            labels.remove(ZONE_LABEL);
        } else {
            labels.insert(ZONE_LABEL.to_owned(), zone);
        }
    }
    labels
}

/// Reads a port number.
pub(super) fn port(number: i64, faults: &mut Faults) -> Option<Port> {
    whole(number, 1, 65_535, faults).and_then(|number| faults.take(Port::try_from(number)))
}

/// Reads a whole number between two bounds.
pub(super) fn whole(number: i64, least: u32, most: u32, faults: &mut Faults) -> Option<u32> {
    match u32::try_from(number) {
        Ok(value) if (least..=most).contains(&value) => Some(value),
        _ => {
            faults.refuse(format!("{number} is not between {least} and {most}"));
            None
        }
    }
}
