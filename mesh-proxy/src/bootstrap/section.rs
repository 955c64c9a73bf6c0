//! The sections of a bootstrap, each with its own check.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use mesh_api::error::{Faults, Invalid};
use mesh_api::name::{Hostname, Port};
use mesh_api::token::{BadToken, JoinToken};
use serde::{Deserialize, Serialize};

use crate::telemetry::access_log::Sink;

/// An outbound listener for one destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpstreamListener {
    /// `name`, `name.namespace` or longer, relative to the workload's namespace.
    pub host: String,
    /// The Service's port.
    pub port: u16,
    /// Where the app dials it.
    pub listen: SocketAddr,
}

impl UpstreamListener {
    fn check(&self, faults: &mut Faults) {
        if let Err(error) = self.host.parse::<Hostname>() {
            faults.field("host", |f| f.refuse(error.to_string()));
        }
        if self.port == 0 {
            faults.field("port", |f| f.refuse("must be 1 to 65535"));
        }
        if !self.listen.ip().is_loopback() {
            faults.field("listen", |f| f.refuse("must be on loopback"));
        }
    }
}

impl FromStr for UpstreamListener {
    type Err = Invalid;

    /// Reads `reviews:9080=127.0.0.1:19080`.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let bad = || {
            let text: String = text.chars().take(300).collect();
            Invalid::new(
                "upstreams",
                format!("{text:?} is not HOST:PORT=ADDRESS:PORT"),
            )
        };
        let (target, listen) = text.split_once('=').ok_or_else(bad)?;
        let (host, port) = target.rsplit_once(':').ok_or_else(bad)?;
        let port: Port = port.parse().map_err(|_| bad())?;
        host.parse::<Hostname>().map_err(|_| bad())?;
        Ok(Self {
            host: host.to_owned(),
            port: port.number(),
            listen: listen.parse().map_err(|_| bad())?,
        })
    }
}

/// Checks all listeners, and that no two take one address.
pub(super) fn check_upstreams(upstreams: &[UpstreamListener], faults: &mut Faults) {
    faults.field("upstreams", |faults| {
        let mut taken: HashMap<SocketAddr, usize> = HashMap::new();
        for (index, upstream) in upstreams.iter().enumerate() {
            faults.index(index, |f| {
                upstream.check(f);
                if upstream.listen.port() == 0 {
                    return;
                }
                if let Some(other) = taken.insert(upstream.listen, index) {
                    f.field("listen", |f| {
                        f.refuse(format!("is also the address of upstreams[{other}]"));
                    });
                }
            });
        }
    });
}

/// Listeners that the system redirects connections to.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Capture {
    /// Of what the workload dials; on loopback.
    pub outbound: Vec<SocketAddr>,
    /// Of what others dial at the workload.
    pub inbound: Vec<SocketAddr>,
    /// A port that the system redirects to `outbound` on loopback: the proxy dials it to see whether
    /// it does, and is not ready before. Absent: nothing is checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check_port: Option<u16>,
}

impl Capture {
    pub(super) fn check(&self, faults: &mut Faults) {
        for (field, addresses) in [("outbound", &self.outbound), ("inbound", &self.inbound)] {
            faults.field(field, |faults| {
                for (index, address) in addresses.iter().enumerate() {
                    if address.port() == 0 {
                        faults.index(index, |f| f.refuse("must have a port"));
                    }
                    if field == "outbound" && !address.ip().is_loopback() {
                        faults.index(index, |f| f.refuse("must be on loopback"));
                    }
                }
            });
        }
    }
}

/// Where an app listens: `"dialled"`, or an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum AppAddress {
    /// At one address, whichever of the workload's was dialled.
    Fixed(IpAddr),
    /// At the address that was dialled.
    Dialled,
}

impl Default for AppAddress {
    fn default() -> Self {
        Self::Fixed(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }
}

impl TryFrom<String> for AppAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == DIALLED {
            return Ok(Self::Dialled);
        }
        let address = text.parse().map(Self::Fixed);
        address.map_err(|_| format!("{text:?} is neither an address nor {DIALLED}"))
    }
}

impl From<AppAddress> for String {
    fn from(address: AppAddress) -> Self {
        match address {
            AppAddress::Fixed(address) => address.to_string(),
            AppAddress::Dialled => DIALLED.to_owned(),
        }
    }
}

const DIALLED: &str = "dialled";

/// A pod's way to its first certificate. The token's file is read at each try: it is renewed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceAccountToken {
    /// The token's file.
    pub file: PathBuf,
    /// SHA-256 of the roots, any of which vouches for the control plane.
    pub root_hashes: Vec<RootHash>,
}

impl ServiceAccountToken {
    pub(super) fn check(&self, faults: &mut Faults) {
        if !self.file.is_absolute() {
            faults.field("file", |f| f.refuse("must be an absolute path"));
        }
        if self.root_hashes.is_empty() {
            faults.field("rootHashes", |f| {
                f.refuse("is empty: nothing would vouch for the control plane");
            });
        }
    }
}

/// SHA-256 of a root certificate's DER, as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RootHash(pub [u8; 32]);

impl FromStr for RootHash {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            let text: String = text.chars().take(80).collect();
            format!("{text:?} is not 64 hexadecimal digits")
        };
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let mut hash = [0; 32];
        if !rest.is_empty() || pairs.len() != hash.len() {
            return Err(bad());
        }
        let digit = |b: u8| {
            char::from(b)
                .to_digit(16)
                .and_then(|d| u8::try_from(d).ok())
        };
        for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
            let (high, low) = (digit(*high), digit(*low));
            *byte = high
                .zip(low)
                .map(|(high, low)| high << 4 | low)
                .ok_or_else(bad)?;
        }
        Ok(Self(hash))
    }
}

impl TryFrom<String> for RootHash {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for RootHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for RootHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<RootHash> for String {
    fn from(hash: RootHash) -> Self {
        hash.to_string()
    }
}

/// Where access log lines go: `"off"`, `"stdout"` or `{"file": "/path"}`.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AccessLog {
    /// Nowhere.
    #[default]
    Off,
    /// Standard output.
    Stdout,
    /// Appended to this file.
    File(PathBuf),
}

impl AccessLog {
    /// As the recorder takes it.
    pub fn sink(&self) -> Sink {
        match self {
            Self::Off => Sink::Off,
            Self::Stdout => Sink::Stdout,
            Self::File(path) => Sink::File(path.clone()),
        }
    }

    pub(super) fn check(&self, faults: &mut Faults) {
        if let Self::File(path) = self
            && !path.is_absolute()
        {
            faults.field("file", |f| f.refuse("must be an absolute path"));
        }
    }
}

/// A join token as text, or the path of a file that holds one. Never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JoinTokenSource(String);

/// A join token that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TokenUnreadable {
    /// Its file cannot be read.
    #[error("cannot read the join token's file {path}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is none.
    #[error(transparent)]
    Bad(#[from] BadToken),
}

impl JoinTokenSource {
    /// A token's text, or a path.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The token, read from its file where a path was given.
    ///
    /// # Errors
    /// The file cannot be read, or what it holds is no token.
    pub fn read(&self) -> Result<JoinToken, TokenUnreadable> {
        if !self.is_path() {
            return Ok(self.0.parse()?);
        }
        let text = std::fs::read_to_string(&self.0).map_err(|source| TokenUnreadable::File {
            path: self.0.clone(),
            source,
        })?;
        Ok(text.parse()?)
    }

    pub(super) fn check(&self, faults: &mut Faults) {
        if !self.is_path() {
            faults.take(self.0.parse::<JoinToken>());
        }
    }

    fn is_path(&self) -> bool {
        self.0.starts_with('/')
    }
}

impl fmt::Debug for JoinTokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_path() {
            &self.0
        } else {
            "(join token)"
        })
    }
}

/// The lease a proxy keeps for its workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Registration {
    /// Services select the workload by these.
    pub labels: BTreeMap<String, String>,
    /// The app's ports by the Service's port name.
    pub ports: BTreeMap<String, u16>,
    /// Where the tunnel listens.
    pub tunnel_port: u16,
    /// Relative share, 1 to 10,000.
    pub weight: u32,
    /// Whether the app's ports must accept connections before the lease starts.
    pub lease_probe: bool,
}

impl Default for Registration {
    fn default() -> Self {
        Self {
            labels: BTreeMap::new(),
            ports: BTreeMap::new(),
            tunnel_port: 15008,
            weight: 100,
            lease_probe: true,
        }
    }
}

impl Registration {
    pub(super) fn check(&self, faults: &mut Faults) {
        faults.field("ports", |faults| {
            for (name, port) in &self.ports {
                if *port == 0 {
                    faults.field(name, |f| f.refuse("must be 1 to 65535"));
                }
            }
        });
        if self.tunnel_port == 0 {
            faults.field("tunnelPort", |f| f.refuse("must be 1 to 65535"));
        }
        if !(1..=10_000).contains(&self.weight) {
            faults.field("weight", |f| f.refuse("must be 1 to 10000"));
        }
    }
}

/// Checks `host:port`.
pub(super) fn check_authority(text: &str, faults: &mut Faults) {
    let host_and_port = |(host, port): (&str, &str)| {
        host.parse::<Hostname>().is_ok() && port.parse::<Port>().is_ok()
    };
    if text.parse::<SocketAddr>().is_err() && !text.rsplit_once(':').is_some_and(host_and_port) {
        faults.refuse("must be host:port");
    }
}

/// A duration as a number of whole seconds.
pub(super) mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(in crate::bootstrap) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(duration.as_secs())
    }

    pub(in crate::bootstrap) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_secs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_hashes_are_read() {
        let hash: RootHash = "0f".repeat(32).parse().unwrap();
        assert_eq!(hash, RootHash([15; 32]));
        assert_eq!(hash.to_string(), "0f".repeat(32));
        for bad in [
            "",
            "0f",
            &"0g".repeat(32),
            &"0f".repeat(33),
            &"é".repeat(32),
        ] {
            assert!(bad.parse::<RootHash>().is_err(), "{bad}");
        }
    }
}
