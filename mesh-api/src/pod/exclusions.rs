//! What of a pod's traffic goes past its proxy.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::annotation;
use crate::error::{Faults, Invalid};

/// Ports and addresses that are not captured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Exclusions {
    /// Ports dialled.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outbound_ports: Vec<u16>,
    /// Ports reached.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inbound_ports: Vec<u16>,
    /// Addresses dialled.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outbound_ranges: Vec<IpNet>,
}

impl Exclusions {
    /// Reads the annotations of a pod.
    ///
    /// # Errors
    /// Every entry of a list that is not what it should be.
    pub fn of(annotations: &BTreeMap<String, String>) -> Result<Self, Vec<Invalid>> {
        let mut faults = Faults::default();
        let text = |name: &str| annotations.get(name).map_or("", String::as_str);
        let ports = |name: &str, faults: &mut Faults| {
            faults.field(&format!("metadata.annotations[{name}]"), |f| {
                read(text(name), port, f)
            })
        };
        let outbound_ports = ports(annotation::EXCLUDE_OUTBOUND_PORTS, &mut faults);
        let inbound_ports = ports(annotation::EXCLUDE_INBOUND_PORTS, &mut faults);
        let name = annotation::EXCLUDE_OUTBOUND_CIDRS;
        let outbound_ranges = faults.field(&format!("metadata.annotations[{name}]"), |f| {
            read(text(name), range, f)
        });
        if !faults.is_empty() {
            return Err(faults.into_vec());
        }
        Ok(Self {
            outbound_ports,
            inbound_ports,
            outbound_ranges,
        })
    }

    /// What either leaves out.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.outbound_ports.extend(&other.outbound_ports);
        self.inbound_ports.extend(&other.inbound_ports);
        self.outbound_ranges.extend(&other.outbound_ranges);
        for ports in [&mut self.outbound_ports, &mut self.inbound_ports] {
            ports.sort_unstable();
            ports.dedup();
        }
        self.outbound_ranges.sort_unstable();
        self.outbound_ranges.dedup();
        self
    }

    /// As arguments of `mesh-proxy init`.
    pub fn arguments(&self) -> Vec<String> {
        let ports = |ports: &[u16]| join(ports);
        [
            ("--exclude-outbound-ports", ports(&self.outbound_ports)),
            ("--exclude-inbound-ports", ports(&self.inbound_ports)),
            ("--exclude-outbound-cidrs", join(&self.outbound_ranges)),
        ]
        .into_iter()
        .filter(|(_, list)| !list.is_empty())
        .map(|(flag, list)| format!("{flag}={list}"))
        .collect()
    }

    /// Reads the arguments of `mesh-proxy init` back.
    ///
    /// # Errors
    /// An argument that is none of them, or a list with something else in it.
    pub fn from_arguments(arguments: &[String]) -> Result<Self, Vec<Invalid>> {
        let mut faults = Faults::default();
        let mut exclusions = Self::default();
        for argument in arguments {
            let (flag, list) = argument.split_once('=').unwrap_or((argument, ""));
            match flag {
                "--exclude-outbound-ports" => {
                    let ports = faults.field(flag, |f| read(list, port, f));
                    exclusions.outbound_ports.extend(ports);
                }
                "--exclude-inbound-ports" => {
                    let ports = faults.field(flag, |f| read(list, port, f));
                    exclusions.inbound_ports.extend(ports);
                }
                "--exclude-outbound-cidrs" => {
                    let ranges = faults.field(flag, |f| read(list, range, f));
                    exclusions.outbound_ranges.extend(ranges);
                }
                _ => faults.refuse(format!("{argument:?} is no argument of it")),
            }
        }
        if faults.is_empty() {
            Ok(exclusions)
        } else {
            Err(faults.into_vec())
        }
    }
}

/// Reads a CIDR; an address alone stands for itself.
///
/// # Errors
/// It is neither.
pub fn range(text: &str) -> Result<IpNet, String> {
    let alone = || text.parse::<IpAddr>().map(IpNet::from);
    let parsed = text.parse::<IpNet>().or_else(|_| alone());
    let range = parsed.map_err(|_| format!("{text:?} is not a CIDR such as 10.0.0.0/8"))?;
    Ok(range.trunc())
}

fn port(text: &str) -> Result<u16, String> {
    let port = text.parse().ok().filter(|port| *port != 0);
    port.ok_or_else(|| format!("{text:?} is not a port (1 to 65535)"))
}

/// Reads a comma list; blanks around its entries do not matter.
fn read<T>(list: &str, parse: impl Fn(&str) -> Result<T, String>, faults: &mut Faults) -> Vec<T> {
    let mut read = Vec::new();
    for entry in list.split(',').map(str::trim).filter(|e| !e.is_empty()) {
        let entry: String = entry.chars().take(80).collect();
        match parse(&entry) {
            Ok(value) => read.push(value),
            Err(reason) => faults.refuse(reason),
        }
    }
    read
}

fn join<T: ToString>(values: &[T]) -> String {
    let texts: Vec<String> = values.iter().map(ToString::to_string).collect();
    texts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_and_arguments_say_the_same() {
        let annotations = [
            (annotation::EXCLUDE_OUTBOUND_PORTS, "53, 123"),
            (
                annotation::EXCLUDE_OUTBOUND_CIDRS,
                "10.1.2.3/16,fd00::/8,1.2.3.4",
            ),
        ];
        let annotations = annotations
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into();
        let read = Exclusions::of(&annotations).unwrap();
        let arguments = read.arguments();
        assert_eq!(
            arguments,
            [
                "--exclude-outbound-ports=53,123",
                "--exclude-outbound-cidrs=10.1.0.0/16,fd00::/8,1.2.3.4/32"
            ]
        );
        assert_eq!(Exclusions::from_arguments(&arguments).unwrap(), read);
    }

    #[test]
    fn every_bad_entry_is_named() {
        let annotations = [
            (annotation::EXCLUDE_INBOUND_PORTS, "0,80,x"),
            (annotation::EXCLUDE_OUTBOUND_CIDRS, "10.0.0.0/33; accept"),
        ];
        let annotations = annotations
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into();
        let faults = Exclusions::of(&annotations).unwrap_err();
        let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "metadata.annotations[mesh.dev/exclude-inbound-ports]: \"0\" is not a port (1 to 65535)",
                "metadata.annotations[mesh.dev/exclude-inbound-ports]: \"x\" is not a port (1 to 65535)",
                "metadata.annotations[mesh.dev/exclude-outbound-cidrs]: \"10.0.0.0/33; accept\" is not a CIDR such as 10.0.0.0/8",
            ]
        );
        assert!(Exclusions::from_arguments(&["--exclude".to_owned()]).is_err());
    }
}
