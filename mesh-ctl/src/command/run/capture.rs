//! Transparent capture: rules of nftables that redirect the machine's TCP to the sidecar.
//!
//! One table of our own, put in place and taken away as a whole. The sidecar runs under a user of its
//! own, by whose number its traffic is exempt.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Args;
use mesh_proxy::bootstrap::Capture as Listeners;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::Settled;

/// The table of the rules.
const TABLE: &str = "mesh_capture";
/// The usual ports of the capturing listeners.
const OUTBOUND_PORT: u16 = 15001;
const INBOUND_PORT: u16 = 15006;
/// Never captured on its way in: whoever set this up would be locked out.
const SSH_PORT: u16 = 22;
/// How long the sidecar may take to listen before the rules are put in place.
const LISTENS: Duration = Duration::from_secs(20);

/// Arguments of transparent capture.
#[derive(Debug, Args)]
pub(super) struct CaptureArgs {
    /// Redirect this machine's TCP to the sidecar, without a change to the app (Linux, as root).
    #[arg(long, requires = "address")]
    transparent: bool,
    /// User number of the sidecar, reserved for it: its own traffic is not captured.
    #[arg(
        long,
        value_name = "UID",
        default_value_t = 15008,
        requires = "transparent"
    )]
    proxy_uid: u32,
    /// Port whose connections are not captured on their way out. Repeatable.
    #[arg(
        long = "exclude-outbound-port",
        value_name = "PORT",
        requires = "transparent"
    )]
    outbound_ports: Vec<u16>,
    /// Port whose connections are not captured on their way in (22 never is). Repeatable.
    #[arg(
        long = "exclude-inbound-port",
        value_name = "PORT",
        requires = "transparent"
    )]
    inbound_ports: Vec<u16>,
    /// Addresses to which connections are not captured, as CIDR. Repeatable.
    #[arg(long = "exclude-cidr", value_name = "CIDR", requires = "transparent")]
    ranges: Vec<Range>,
}

/// A range of addresses as nftables takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Range {
    address: IpAddr,
    length: u8,
}

impl std::str::FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, length) = text
            .split_once('/')
            .map_or((text, None), |(a, l)| (a, Some(l)));
        let address: IpAddr = address
            .parse()
            .map_err(|_| format!("{text:?} is not a CIDR"))?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let length = length.map_or(Ok(longest), str::parse::<u8>);
        match length {
            Ok(length) if length <= longest => Ok(Self { address, length }),
            _ => Err(format!("{text:?} is not a CIDR")),
        }
    }
}

/// What is captured, settled.
#[derive(Debug)]
pub(super) struct Capture {
    pub(super) uid: u32,
    outbound_ports: Vec<u16>,
    inbound_ports: Vec<u16>,
    ranges: Vec<Range>,
    has_ipv6: bool,
}

impl CaptureArgs {
    /// What to capture, if anything: refused where it cannot work.
    pub(super) fn settle(self, tunnel_port: u16) -> anyhow::Result<Option<Capture>> {
        if !self.transparent {
            return Ok(None);
        }
        ensure!(cfg!(target_os = "linux"), "--transparent needs Linux");
        ensure!(
            rustix::process::geteuid().is_root(),
            "--transparent needs root: it changes this machine's nftables"
        );
        ensure!(
            self.proxy_uid != 0,
            "--proxy-uid 0 would exempt root's traffic from capture"
        );
        let mut inbound_ports = self.inbound_ports;
        inbound_ports.extend([SSH_PORT, tunnel_port]);
        inbound_ports.sort_unstable();
        inbound_ports.dedup();
        Ok(Some(Capture {
            uid: self.proxy_uid,
            outbound_ports: self.outbound_ports,
            inbound_ports,
            ranges: self.ranges,
            has_ipv6: Path::new("/proc/net/if_inet6").exists(),
        }))
    }
}

impl Capture {
    /// The sidecar's listeners.
    pub(super) fn listeners(&self) -> Listeners {
        let both = |four: Ipv4Addr, six: Ipv6Addr, port: u16| {
            let six = self.has_ipv6.then_some(IpAddr::V6(six));
            let addresses = [IpAddr::V4(four)].into_iter().chain(six);
            addresses.map(|ip| SocketAddr::new(ip, port)).collect()
        };
        Listeners {
            outbound: both(Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST, OUTBOUND_PORT),
            inbound: both(Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED, INBOUND_PORT),
        }
    }

    /// Gives the sidecar's user what it writes, and nothing else.
    pub(super) fn hand_over(&self, settled: &Settled, bootstrap: &Path) -> anyhow::Result<()> {
        let own = |path: &Path| {
            std::os::unix::fs::chown(path, Some(self.uid), Some(self.uid))
                .with_context(|| format!("cannot give {} to user {}", path.display(), self.uid))
        };
        for folder in [&settled.own, &settled.memory] {
            own_all(folder, &own)?;
        }
        own(bootstrap)?;
        for path in [&settled.folder, settled.root.as_path()] {
            let mode = std::fs::metadata(path)?.mode();
            // May be passed through, not listed.
            let passable = std::fs::Permissions::from_mode(mode | 0o011);
            std::fs::set_permissions(path, passable)?;
        }
        self.check_passable(&settled.own, "; choose another --state")?;
        self.check_passable(&std::env::current_exe()?, "; install meshctl elsewhere")
    }

    fn check_passable(&self, path: &Path, advice: &str) -> anyhow::Result<()> {
        for parent in path.ancestors().skip(1) {
            let found = std::fs::metadata(parent).with_context(|| parent.display().to_string())?;
            let passable = found.mode() & 0o001 != 0 || found.uid() == self.uid;
            ensure!(
                passable,
                "the sidecar runs as user {} and cannot pass through {}{advice}",
                self.uid,
                parent.display()
            );
        }
        Ok(())
    }

    /// Puts the rules in place, once the sidecar listens. Rules of an earlier run are replaced.
    pub(super) async fn begin(&self) -> anyhow::Result<()> {
        self.await_listeners().await?;
        nft(&self.rules()).await
    }

    async fn await_listeners(&self) -> anyhow::Result<()> {
        let listeners = self.listeners();
        let all_listen = async {
            for address in listeners.outbound.iter().chain(&listeners.inbound) {
                // Dialling them is refused by the sidecar, but not before it listens.
                while tokio::net::TcpStream::connect(reachable(*address))
                    .await
                    .is_err()
                {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        };
        let waited = tokio::time::timeout(LISTENS, all_listen).await;
        waited.context("the sidecar does not listen; see its proxy.log")
    }

    fn rules(&self) -> String {
        let list = |items: Vec<String>| items.join(", ");
        let numbers = |ports: &[u16]| list(ports.iter().map(ToString::to_string).collect());
        let excluded = |family: &str, is_four: bool| {
            let ours = self
                .ranges
                .iter()
                .filter(|range| range.address.is_ipv4() == is_four);
            let texts: Vec<String> = ours
                .map(|r| format!("{}/{}", r.address, r.length))
                .collect();
            if texts.is_empty() {
                String::new()
            } else {
                format!("    {family} daddr {{ {} }} return\n", list(texts))
            }
        };
        let out_ports = if self.outbound_ports.is_empty() {
            String::new()
        } else {
            format!(
                "    tcp dport {{ {} }} return\n",
                numbers(&self.outbound_ports)
            )
        };
        format!(
            "{removal}table inet {TABLE} {{
  chain outbound {{
    type nat hook output priority -100; policy accept;
    meta skuid {uid} return
    oif \"lo\" return
{four}{six}{out_ports}    meta l4proto tcp redirect to :{OUTBOUND_PORT}
  }}
  chain inbound {{
    type nat hook prerouting priority -100; policy accept;
    iif \"lo\" return
    fib daddr type != local return
    tcp dport {{ {in_ports} }} return
    meta l4proto tcp redirect to :{INBOUND_PORT}
  }}
}}
",
            removal = removal(),
            uid = self.uid,
            four = excluded("ip", true),
            six = excluded("ip6", false),
            in_ports = numbers(&self.inbound_ports),
        )
    }
}

/// Takes the rules away, whether or not there are any.
pub(super) async fn end() -> anyhow::Result<()> {
    nft(&removal()).await
}

/// Adding what may be there first makes its removal certain.
fn removal() -> String {
    format!("table inet {TABLE} {{\n}}\ndelete table inet {TABLE}\n")
}

/// Has `nft` apply `rules` as one.
async fn nft(rules: &str) -> anyhow::Result<()> {
    let started = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("--transparent needs the program nft: install the package nftables")
        }
        Err(error) => return Err(error).context("cannot start nft"),
    };
    if let Some(mut input) = child.stdin.take() {
        input.write_all(rules.as_bytes()).await?;
    }
    let output = child.wait_with_output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "nft refuses the rules: {}",
        said.trim()
    );
    Ok(())
}

fn own_all(folder: &Path, own: &impl Fn(&Path) -> anyhow::Result<()>) -> anyhow::Result<()> {
    own(folder)?;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            own_all(&entry.path(), own)?;
        } else if entry.file_type()?.is_file() {
            own(&entry.path())?;
        }
    }
    Ok(())
}

/// Where a listener can be dialled from this machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_name_the_exempt_user_and_what_is_excluded() {
        let capture = Capture {
            uid: 15008,
            outbound_ports: vec![53, 123],
            inbound_ports: vec![22, 15008],
            ranges: ["10.1.0.0/16", "10.2.3.4", "fd00::/8"]
                .map(|r| r.parse().unwrap())
                .to_vec(),
            has_ipv6: true,
        };
        let rules = capture.rules();
        for expected in [
            "delete table inet mesh_capture\ntable inet mesh_capture {",
            "meta skuid 15008 return\n    oif \"lo\" return\n",
            "ip daddr { 10.1.0.0/16, 10.2.3.4/32 } return\n    ip6 daddr { fd00::/8 } return\n",
            "tcp dport { 53, 123 } return\n    meta l4proto tcp redirect to :15001",
            "tcp dport { 22, 15008 } return\n    meta l4proto tcp redirect to :15006",
        ] {
            assert!(rules.contains(expected), "{expected} is not in\n{rules}");
        }
        let nothing = Capture {
            outbound_ports: vec![],
            ranges: vec![],
            ..capture
        };
        assert!(!nothing.rules().contains("daddr {"), "{}", nothing.rules());
    }

    #[test]
    fn only_ranges_are_excluded() {
        for bad in ["", "10.0.0.0/33", "fd00::/129", "a/8", "10.0.0.0/8; accept"] {
            assert!(bad.parse::<Range>().is_err(), "{bad}");
        }
    }
}
