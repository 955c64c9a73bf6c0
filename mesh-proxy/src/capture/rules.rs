//! The rules, as text for `nft`.
//!
//! One table of our own, put in place and taken away as a whole. The proxy runs under a user of its
//! own, by whose number its traffic is exempt.

use std::net::IpAddr;

use mesh_api::pod::{
    CHECK_PORT, Exclusions, INBOUND_PORT, OBSERVE_PORT, OUTBOUND_PORT, PROXY_UID, TUNNEL_PORT,
};

/// The table of the rules.
const TABLE: &str = "mesh_capture";

/// What is redirected, and what is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The proxy's user.
    pub uid: u32,
    /// What the workload leaves out.
    pub exclusions: Exclusions,
}

impl Rules {
    /// The rules of a pod: what its proxy listens on is not captured.
    pub fn of_pod(exclusions: &Exclusions) -> Self {
        let proxys = Exclusions {
            inbound_ports: vec![TUNNEL_PORT, OBSERVE_PORT],
            ..Exclusions::default()
        };
        Self {
            uid: PROXY_UID,
            exclusions: proxys.and(exclusions),
        }
    }

    /// The text: it replaces an earlier table, all or nothing.
    ///
    /// What stays on loopback is not captured, so the app reaches its own pod, and the proxy the app;
    /// the one port of the check is an exception.
    pub fn text(&self) -> String {
        let out_ports = set("tcp dport", &self.exclusions.outbound_ports);
        let in_ports = set("tcp dport", &self.exclusions.inbound_ports);
        let ranges = |is_four: bool| {
            let all = self.exclusions.outbound_ranges.iter();
            let ours = all.filter(|range| matches!(range.addr(), IpAddr::V4(_)) == is_four);
            ours.collect::<Vec<_>>()
        };
        let (four, six) = (
            set("ip daddr", &ranges(true)),
            set("ip6 daddr", &ranges(false)),
        );
        format!(
            "{removal}table inet {TABLE} {{
  chain outbound {{
    type nat hook output priority -100; policy accept;
    oif \"lo\" tcp dport {CHECK_PORT} redirect to :{OUTBOUND_PORT}
    meta skuid {uid} return
    oif \"lo\" return
{four}{six}{out_ports}    meta l4proto tcp redirect to :{OUTBOUND_PORT}
  }}
  chain inbound {{
    type nat hook prerouting priority -100; policy accept;
    iif \"lo\" return
    fib daddr type != local return
{in_ports}    meta l4proto tcp redirect to :{INBOUND_PORT}
  }}
}}
",
            removal = removal(),
            uid = self.uid,
        )
    }
}

/// Takes the rules away, whether or not there are any: adding what may be there makes its removal
/// certain.
pub fn removal() -> String {
    format!("table inet {TABLE} {{\n}}\ndelete table inet {TABLE}\n")
}

/// A rule that lets pass what matches one of `values`; nothing for none.
fn set<T: ToString>(what: &str, values: &[T]) -> String {
    if values.is_empty() {
        return String::new();
    }
    let texts: Vec<String> = values.iter().map(ToString::to_string).collect();
    format!("    {what} {{ {} }} return\n", texts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_name_the_exempt_user_and_what_is_excluded() {
        let ranges = ["10.1.0.0/16", "10.2.3.4/32", "fd00::/8"];
        let exclusions = Exclusions {
            outbound_ports: vec![53, 123],
            inbound_ports: vec![22],
            outbound_ranges: ranges.map(|range| range.parse().unwrap()).to_vec(),
        };
        let rules = Rules::of_pod(&exclusions).text();
        for expected in [
            "delete table inet mesh_capture\ntable inet mesh_capture {",
            "meta skuid 15008 return\n    oif \"lo\" return\n",
            "ip daddr { 10.1.0.0/16, 10.2.3.4/32 } return\n    ip6 daddr { fd00::/8 } return\n",
            "tcp dport { 53, 123 } return\n    meta l4proto tcp redirect to :15001",
            "tcp dport { 22, 15008, 15020 } return\n    meta l4proto tcp redirect to :15006",
        ] {
            assert!(rules.contains(expected), "{expected} is not in\n{rules}");
        }
        let nothing = Rules::of_pod(&Exclusions::default()).text();
        assert!(!nothing.contains("daddr {"), "{nothing}");
    }
}
