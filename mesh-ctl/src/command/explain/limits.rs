//! The limits that receiving workloads keep, where a `RateLimitPolicy` is about the request.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use mesh_api::decide::explanation::{Endpoint, Fields};
use mesh_api::decide::ratelimit::{LimitExplanation, Received, caller_namespace, explain};
use mesh_api::decide::target::normalise;
use mesh_api::decide::{Caller, Request};
use mesh_api::error::Faults;
use mesh_api::model::inbound::Inbound;
use mesh_api::name::{ObjectName, Port};
use mesh_api::snapshot::RateLimitTable;
use mesh_api::translate::Catalog;

use crate::command::explain::Asked;

/// The limits at `endpoints` that a request by `from` meets; of a connection those on connections.
pub(super) fn at(
    catalog: &Catalog,
    from: &ObjectName,
    endpoints: &[&Endpoint],
    asked: Option<&Asked>,
) -> Vec<LimitExplanation> {
    let caller = catalog.workload(from);
    let trust_domain = catalog.mesh().trust_domain;
    // One outside the mesh comes in the clear.
    let peer = caller.filter(|caller| caller.tunnel_port.is_some());
    let peer = peer.map(|caller| caller.identity(&trust_domain));
    let address = caller.and_then(|caller| caller.addresses.first().copied());
    let address = address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let namespace = caller_namespace(peer.as_ref());
    let target = asked.and_then(|asked| normalise(&asked.target).ok());
    let fields = asked.iter().flat_map(|asked| &asked.headers);
    let fields: Vec<_> = fields.map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let fields = Fields(&fields);
    let mut found = BTreeMap::new();
    for endpoint in endpoints {
        let Some((inbound, port)) = receiver(catalog, endpoint) else {
            continue;
        };
        let Some(table) = RateLimitTable::compile(&inbound, &mut Faults::default()) else {
            continue;
        };
        let request = asked.zip(target.as_ref()).map(|(asked, target)| Request {
            method: &asked.method,
            scheme: "http",
            authority: &asked.authority,
            port: asked.port,
            path: &target.path,
            query: target.query,
            headers: &fields,
            caller: Caller {
                namespace,
                labels: None,
                service_account: peer.as_ref().map(|peer| &peer.service_account),
                address: Some(address),
            },
        });
        let received = request.map(|request| Received {
            request,
            port,
            peer: peer.as_ref(),
            address,
        });
        let limits = explain(&inbound, &table, received.as_ref(), port);
        found.insert((inbound.workload.clone(), port), limits);
    }
    found.into_values().flatten().collect()
}

/// The receiving side of an endpoint, and its app's port.
pub(super) fn receiver(catalog: &Catalog, endpoint: &Endpoint) -> Option<(Inbound, Port)> {
    let workload: ObjectName = endpoint.workload.as_ref()?.parse().ok()?;
    let address: SocketAddr = endpoint.address.parse().ok()?;
    Some((catalog.inbound(&workload)?, Port::new(address.port())?))
}
