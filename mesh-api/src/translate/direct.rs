//! Traffic to the address of a pod or workload itself, past any Service and its routes.
//!
//! Its destination bears the name that Kubernetes' DNS gives to the address: `10-1-2-3.pod` in the
//! pod's namespace. No Service has a name with a dot.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::model::backend::Backend;
use crate::model::destination::Destination;
use crate::model::workload::Workload;
use crate::name::{DestinationName, Name, Namespace, ObjectName, Port};
use crate::resource::Kind;
use crate::translate::backend::{View, endpoint};
use crate::translate::index::Index;
use crate::translate::{inbound, settings};

/// The last label of such a name.
const SUFFIX: &str = ".pod";

/// The destination behind a pod's address and port, if there is such a pod.
pub(super) fn at(index: &Index, address: SocketAddr) -> Option<DestinationName> {
    let (port, resident) = (Port::new(address.port())?, resident(index, address.ip())?);
    let name = name_of(address.ip())?;
    let service = ObjectName::new(resident.name.namespace.clone(), name);
    Some(DestinationName::new(service, port))
}

/// The destination of this name, if it is that of a pod's address.
pub(super) fn destination(
    view: &View<'_>,
    name: &DestinationName,
    consumer: &Namespace,
) -> Option<Destination> {
    let address = address_of(&name.service.name)?;
    let resident = resident(view.index, address)?;
    if resident.name.namespace != name.service.namespace {
        return None;
    }
    let protocol = inbound::protocol_at(view.index, resident, name.port);
    let (timeouts, retry) = settings::exchange_within(view.index, &name.service.namespace);
    let faults = settings::faults_within(view.index, &name.service.namespace);
    let own = Backend {
        name: name.clone(),
        protocol,
        settings: settings::backend_within(view.index, &name.service.namespace),
        endpoints: vec![endpoint(
            view,
            resident,
            SocketAddr::new(address, name.port.number()),
        )],
    };
    Some(Destination {
        name: name.clone(),
        consumer: consumer.clone(),
        protocol,
        addresses: vec![address],
        routes: Vec::new(),
        connection_routes: Vec::new(),
        backends: vec![own],
        timeouts,
        retry,
        own_faults: (!faults.value.is_empty()).then_some(0),
        faults: Some(faults)
            .filter(|list| !list.value.is_empty())
            .into_iter()
            .collect(),
        stickiness: None,
    })
}

/// Who has an address: a pod, else a workload where only one has it.
fn resident(index: &Index, address: IpAddr) -> Option<&Workload> {
    let mut residents = index.residents(address);
    let (kind, first) = residents.next()?;
    (kind == Kind::Pod || residents.next().is_none()).then_some(first)
}

/// `10-1-2-3.pod`; every group of an IPv6 address is written out, so that no label begins or ends with
/// a dash.
fn name_of(address: IpAddr) -> Option<Name> {
    let label = match address {
        IpAddr::V4(address) => address.to_string().replace('.', "-"),
        IpAddr::V6(address) => {
            let groups = address.segments().map(|group| format!("{group:x}"));
            groups.join("-")
        }
    };
    format!("{label}{SUFFIX}").parse().ok()
}

/// The address that a name is of.
pub(super) fn address_of(name: &Name) -> Option<IpAddr> {
    let label = name.as_str().strip_suffix(SUFFIX)?;
    let v4 = || label.replace('-', ".").parse::<Ipv4Addr>().ok();
    let v6 = || label.replace('-', ":").parse::<Ipv6Addr>().ok();
    v4().map(IpAddr::V4).or_else(|| v6().map(IpAddr::V6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_names() {
        for (address, expected) in [
            ("10.1.2.3", "10-1-2-3.pod"),
            ("fd00::1", "fd00-0-0-0-0-0-0-1.pod"),
            ("::", "0-0-0-0-0-0-0-0.pod"),
        ] {
            let address: IpAddr = address.parse().unwrap();
            let name = name_of(address).unwrap();
            assert_eq!(name.as_str(), expected);
            assert_eq!(address_of(&name), Some(address));
        }
        for other in [
            "catalog",
            "catalog.pod",
            "10-1-2-3",
            "10-1-2.pod",
            "a.pod.pod",
        ] {
            assert_eq!(address_of(&other.parse().unwrap()), None, "{other}");
        }
    }
}
