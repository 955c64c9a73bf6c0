//! Which destination a host means: `name`, `name.ns`, `name.ns.svc` or `name.ns.svc.<cluster domain>`,
//! seen from the caller's namespace.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::model::mesh::{MeshFacts, UnknownDestinations};
use crate::name::{DestinationName, Name, Namespace, ObjectName, Port};
use crate::snapshot::Snapshot;

/// What a host and port mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// A Service's port, if the control plane knows it. A name of two labels may as well be a public
    /// one: where the control plane says that it does not exist, and [`is_within`] is false, it is
    /// outside.
    Service(DestinationName),
    /// A name or address outside the mesh; an IP may still be a destination's virtual one
    /// (`Snapshot::find_address`).
    Outside,
}

/// Resolves the host of an authority (without its port), in any case, with or without the final dot.
pub fn resolve(
    facts: &MeshFacts,
    consumer: &Namespace,
    authority_host: &str,
    port: u16,
) -> Resolution {
    let named = || {
        if is_address(authority_host) {
            return None;
        }
        let host = lower(authority_host);
        let (service, namespace) = split(&host, facts.cluster_domain.as_str())?;
        let namespace = match namespace {
            Some(namespace) => namespace.parse().ok()?,
            None => consumer.clone(),
        };
        let service = ObjectName::new(namespace, service.parse::<Name>().ok()?);
        Some(DestinationName::new(service, Port::new(port)?))
    };
    named().map_or(Resolution::Outside, Resolution::Service)
}

/// True if only the mesh can know the host: it has a single label, or ends in `.svc` or
/// `.svc.<cluster domain>`. What the control plane does not know of these does not exist.
pub fn is_within(facts: &MeshFacts, authority_host: &str) -> bool {
    if is_address(authority_host) {
        return false;
    }
    let host = lower(authority_host);
    let inner = host
        .strip_suffix(facts.cluster_domain.as_str())
        .and_then(|inner| inner.strip_suffix('.'));
    let last = inner.unwrap_or(&host).rsplit('.').next();
    last == Some("svc") || !host.contains('.')
}

/// What a virtual IP and port mean that an app dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dialled {
    /// A Service's port.
    Service(DestinationName),
    /// Nothing of the mesh's: on to where it was going, as plain bytes.
    Outside,
    /// Nothing of the mesh's, and calls to such are refused.
    Denied,
    /// Nothing is known yet that would tell: ask for the address, then decide again.
    Pending,
}

/// Decides where a connection to `address` goes. Inside the mesh's ranges only the control plane's
/// word counts, and what is nobody's is refused: plain bytes never take the place of a tunnel.
pub fn dialled(snapshot: &Snapshot, address: SocketAddr) -> Dialled {
    let known = snapshot.addresses.get(&address);
    if let Some(Some(name)) = known {
        return Dialled::Service(name.clone());
    }
    if let Some(table) = snapshot.find_address(address.ip(), address.port()) {
        return Dialled::Service(table.name.clone());
    }
    let Some(facts) = &snapshot.mesh else {
        return Dialled::Pending;
    };
    let is_inside = facts
        .ranges
        .iter()
        .any(|range| range.contains(&address.ip()));
    match (is_inside, known, facts.unknown_destinations) {
        (true, None, _) => Dialled::Pending,
        (true, Some(_), _) | (false, _, UnknownDestinations::Deny) => Dialled::Denied,
        (false, _, UnknownDestinations::Allow) => Dialled::Outside,
    }
}

fn split<'h>(host: &'h str, cluster_domain: &str) -> Option<(&'h str, Option<&'h str>)> {
    let Some((service, rest)) = host.split_once('.') else {
        return Some((host, None));
    };
    let Some((namespace, suffix)) = rest.split_once('.') else {
        return Some((service, Some(rest)));
    };
    let ours = suffix == "svc" || suffix.strip_prefix("svc.") == Some(cluster_domain);
    ours.then_some((service, Some(namespace)))
}

fn lower(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

fn is_address(host: &str) -> bool {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    host.parse::<Ipv4Addr>().is_ok() || bare.unwrap_or(host).parse::<Ipv6Addr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> MeshFacts {
        MeshFacts {
            trust_domain: "cluster.local".parse().unwrap(),
            trust_domain_aliases: Vec::new(),
            cluster_domain: "cluster.local".parse().unwrap(),
            ranges: Vec::new(),
            unknown_destinations: UnknownDestinations::Allow,
        }
    }

    #[test]
    fn hosts_resolve_from_the_callers_namespace() {
        let consumer = "demo".parse().unwrap();
        for (host, expected) in [
            ("catalog", "demo/catalog:80"),
            ("Catalog.", "demo/catalog:80"),
            ("catalog.shop", "shop/catalog:80"),
            ("catalog.shop.svc", "shop/catalog:80"),
            ("catalog.shop.svc.cluster.local", "shop/catalog:80"),
            ("CATALOG.shop.SVC.cluster.local.", "shop/catalog:80"),
            ("catalog.shop.svc.other.local", "-"),
            ("api.example.com", "-"),
            ("10.1.2.3", "-"),
            ("[fd00::1]", "-"),
            ("", "-"),
            ("a..b", "-"),
            ("a_b", "-"),
        ] {
            let resolved = match resolve(&facts(), &consumer, host, 80) {
                Resolution::Service(name) => name.to_string(),
                Resolution::Outside => "-".into(),
            };
            assert_eq!(resolved, expected, "{host}");
        }
        assert_eq!(
            resolve(&facts(), &consumer, "catalog", 0),
            Resolution::Outside
        );
    }

    #[test]
    fn inside_the_ranges_only_the_control_plane_tells() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let mut snapshot = Snapshot::default();
        let (service, nobody) = (at("10.96.0.10:80"), at("[fd00:96::1]:80"));
        let (unasked, outside) = (at("10.96.0.11:80"), at("192.0.2.1:443"));
        assert_eq!(
            dialled(&snapshot, outside),
            Dialled::Pending,
            "no facts yet"
        );
        let name: DestinationName = "demo/catalog:80".parse().unwrap();
        snapshot.addresses.insert(service, Some(name.clone()));
        snapshot.addresses.insert(nobody, None);
        assert_eq!(dialled(&snapshot, service), Dialled::Service(name.clone()));
        for (unknown, elsewhere) in [
            (UnknownDestinations::Allow, Dialled::Outside),
            (UnknownDestinations::Deny, Dialled::Denied),
        ] {
            let ranges = ["10.96.0.0/16", "fd00:96::/112"].map(|range| range.parse().unwrap());
            snapshot.mesh = Some(std::sync::Arc::new(MeshFacts {
                ranges: ranges.to_vec(),
                unknown_destinations: unknown,
                ..facts()
            }));
            assert_eq!(dialled(&snapshot, service), Dialled::Service(name.clone()));
            assert_eq!(dialled(&snapshot, nobody), Dialled::Denied);
            assert_eq!(dialled(&snapshot, unasked), Dialled::Pending);
            assert_eq!(dialled(&snapshot, outside), elsewhere);
        }
    }

    #[test]
    fn only_the_mesh_knows_its_own_names() {
        for host in ["catalog", "a.b.svc", "a.b.svc.cluster.local."] {
            assert!(is_within(&facts(), host), "{host}");
        }
        for host in ["example.com", "10.0.0.1", "a.b.svc.example.com"] {
            assert!(!is_within(&facts(), host), "{host}");
        }
    }
}
