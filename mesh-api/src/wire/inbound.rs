//! A workload's receiving side.

use crate::error::Faults;
use crate::model::inbound::{Inbound, InboundPort};
use crate::model::policy::MutualTls;
use crate::name::Port;
use crate::wire::generated as wire;
use crate::wire::{authorization, destination, extension, ratelimit, read};

pub(super) fn write(from: &Inbound) -> wire::Inbound {
    wire::Inbound {
        workload: from.workload.to_string(),
        identity: from.identity.to_string(),
        labels: extension::write_labels(&from.labels),
        addresses: from.addresses.iter().map(ToString::to_string).collect(),
        tunnel_port: from.tunnel_port.into(),
        ports: from.ports.iter().map(write_port).collect(),
        authorizations: from
            .authorizations
            .iter()
            .map(authorization::write)
            .collect(),
        rate_limits: from.rate_limits.iter().map(ratelimit::write).collect(),
        received_routes: from
            .received_routes
            .iter()
            .map(ratelimit::write_routes)
            .collect(),
        unlisted: from
            .unlisted
            .as_ref()
            .map_or(wire::MutualTls::Unspecified, |mode| write_mode(mode.value))
            .into(),
        unlisted_origin: from
            .unlisted
            .as_ref()
            .and_then(|mode| read::write_origin(&mode.origin)),
    }
}

pub(super) fn read(from: &wire::Inbound, faults: &mut Faults) -> Option<Inbound> {
    let workload = read::text("workload", &from.workload, faults);
    let identity = read::text("identity", &from.identity, faults);
    let addresses = read::list(
        "addresses",
        &from.addresses,
        MAX_ADDRESSES,
        faults,
        |text, f| f.take(text.parse()),
    );
    let labels = extension::read_labels(&from.labels, MAX_LABELS, faults);
    let tunnel_port = faults.field("tunnelPort", |f| f.take(Port::try_from(from.tunnel_port)));
    let ports = read::list("ports", &from.ports, MAX_PORTS, faults, read_port);
    if let Some(ports) = &ports
        && !ports.is_sorted_by(|a, b| a.port < b.port)
    {
        faults.field("ports", |f| f.refuse("are not sorted, or one comes twice"));
    }
    let authorizations = read::list(
        "authorizations",
        &from.authorizations,
        MAX_POLICIES,
        faults,
        authorization::read,
    );
    let (rate_limits, received_routes) = ratelimit::read_all(from, faults);
    let unlisted = if from.unlisted == 0 {
        Some(None)
    } else {
        let mode = read::choice("unlisted", from.unlisted, faults, read_mode);
        let origin = from.unlisted_origin.as_ref();
        read::sourced(mode, "unlistedOrigin", origin, faults).map(Some)
    };
    Some(Inbound {
        unlisted: unlisted?,
        authorizations: authorizations?,
        rate_limits: rate_limits?,
        received_routes: received_routes?,
        workload: workload?,
        identity: identity?,
        labels: labels?,
        addresses: addresses?,
        tunnel_port: tunnel_port?,
        ports: ports?,
    })
}

fn write_mode(mode: MutualTls) -> wire::MutualTls {
    match mode {
        MutualTls::Disabled => wire::MutualTls::Disabled,
        MutualTls::Permissive => wire::MutualTls::Permissive,
        MutualTls::Strict => wire::MutualTls::Strict,
    }
}

fn read_mode(mode: wire::MutualTls) -> Option<MutualTls> {
    match mode {
        wire::MutualTls::Unspecified => None,
        wire::MutualTls::Disabled => Some(MutualTls::Disabled),
        wire::MutualTls::Permissive => Some(MutualTls::Permissive),
        wire::MutualTls::Strict => Some(MutualTls::Strict),
    }
}

fn write_port(from: &InboundPort) -> wire::InboundPort {
    wire::InboundPort {
        port: from.port.into(),
        protocol: destination::write_protocol(from.protocol).into(),
        mutual_tls: write_mode(from.mutual_tls.value).into(),
        mutual_tls_origin: read::write_origin(&from.mutual_tls.origin),
        services: from.services.iter().map(ToString::to_string).collect(),
        has_http_policy: from.has_http_policy,
    }
}

fn read_port(from: &wire::InboundPort, faults: &mut Faults) -> Option<InboundPort> {
    let port = faults.field("port", |f| f.take(Port::try_from(from.port)));
    let protocol = read::choice(
        "protocol",
        from.protocol,
        faults,
        destination::read_protocol,
    );
    let mutual_tls = read::choice("mutualTLS", from.mutual_tls, faults, read_mode);
    let origin = from.mutual_tls_origin.as_ref();
    let mutual_tls = read::sourced(mutual_tls, "mutualTLSOrigin", origin, faults);
    let services = read::list(
        "services",
        &from.services,
        MAX_SERVICES,
        faults,
        |text, f| f.take(text.parse()),
    );
    Some(InboundPort {
        port: port?,
        protocol: protocol?,
        mutual_tls: mutual_tls?,
        has_http_policy: from.has_http_policy,
        services: services?,
    })
}

const MAX_ADDRESSES: usize = 16;
const MAX_LABELS: usize = 4096;
const MAX_POLICIES: usize = 1024;
const MAX_PORTS: usize = 1024;
const MAX_SERVICES: usize = 1024;
