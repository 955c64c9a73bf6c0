//! The unit on the wire: one destination, one workload's inbound side, or the mesh's facts.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use crate::model::destination::Destination;
use crate::model::inbound::Inbound;
use crate::model::mesh::MeshFacts;
use crate::name::{DestinationName, ObjectName};

/// One entry.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "most entries are destinations, and those that are kept are boxed"
)]
pub enum Entry {
    /// A destination with its closure.
    Destination(Destination),
    /// A workload's receiving side.
    Inbound(Inbound),
    /// Mesh-wide facts.
    Mesh(MeshFacts),
    /// What a virtual IP and port mean.
    Address(VirtualAddress),
}

/// A virtual IP and port, and the destination they belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualAddress {
    /// As an app dials it.
    pub address: SocketAddr,
    /// Where that leads.
    pub destination: DestinationName,
}

impl Entry {
    /// The name a proxy subscribes by.
    pub fn name(&self) -> EntryName {
        match self {
            Self::Destination(destination) => EntryName::Destination(destination.name.clone()),
            Self::Inbound(inbound) => EntryName::Inbound(inbound.workload.clone()),
            Self::Mesh(_) => EntryName::Mesh,
            Self::Address(virtual_address) => EntryName::Address(virtual_address.address),
        }
    }
}

/// The name of an entry: `mesh`, `destination/<namespace>/<service>:<port>`,
/// `inbound/<namespace>/<workload>` or `address/<ip>:<port>` as text. The consumer namespace is the subscriber's own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryName {
    /// Mesh-wide facts.
    Mesh,
    /// A Service's port.
    Destination(DestinationName),
    /// A workload.
    Inbound(ObjectName),
    /// A virtual IP and port.
    Address(SocketAddr),
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mesh => f.write_str("mesh"),
            Self::Destination(name) => write!(f, "destination/{name}"),
            Self::Inbound(name) => write!(f, "inbound/{name}"),
            Self::Address(address) => write!(f, "address/{address}"),
        }
    }
}

impl FromStr for EntryName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = match text.split_once('/') {
            None if text == "mesh" => Some(Self::Mesh),
            Some(("destination", name)) => name.parse().ok().map(Self::Destination),
            Some(("inbound", name)) => name.parse().ok().map(Self::Inbound),
            Some(("address", address)) => address.parse().ok().map(Self::Address),
            _ => None,
        };
        parsed.ok_or_else(|| {
            format!(
                "{:?} is not an entry name",
                text.chars().take(300).collect::<String>()
            )
        })
    }
}

/// A hash of an entry's content, as lower-case hexadecimal: equal content, equal version, on any replica.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(String);

impl Version {
    /// The version of an entry encoded as `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest;
        use std::fmt::Write;
        let digest = sha2::Sha256::digest(bytes);
        let mut text = String::with_capacity(32);
        for byte in digest.iter().take(16) {
            #[expect(
                clippy::let_underscore_must_use,
                reason = "writing to a String cannot fail"
            )]
            let _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }

    /// As it travels.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Version {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
