//! Transparent capture: the machine's TCP, redirected to the sidecar, which runs under a user of its
//! own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use mesh_api::pod::{Exclusions, INBOUND_PORT, IpNet, OUTBOUND_PORT};
use mesh_proxy::bootstrap::Capture as Listeners;
use mesh_proxy::capture::{self, Rules};

use super::Settled;

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
    #[arg(
        long = "exclude-cidr",
        value_name = "CIDR",
        value_parser = mesh_api::pod::range,
        requires = "transparent"
    )]
    ranges: Vec<IpNet>,
}

/// What is captured, settled.
#[derive(Debug)]
pub(super) struct Capture {
    pub(super) uid: u32,
    exclusions: Exclusions,
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
        let never = Exclusions {
            inbound_ports: vec![SSH_PORT, tunnel_port],
            ..Exclusions::default()
        };
        let asked = Exclusions {
            outbound_ports: self.outbound_ports,
            inbound_ports: self.inbound_ports,
            outbound_ranges: self.ranges,
        };
        Ok(Some(Capture {
            uid: self.proxy_uid,
            exclusions: never.and(&asked),
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
            // The rules follow once it listens.
            check_port: None,
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
        let rules = Rules {
            uid: self.uid,
            exclusions: self.exclusions.clone(),
        };
        nft(rules.text()).await
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
}

/// Takes the rules away, whether or not there are any.
pub(super) async fn end() -> anyhow::Result<()> {
    nft(capture::removal()).await
}

/// Has `nft` apply `rules` as one.
async fn nft(rules: String) -> anyhow::Result<()> {
    let applied = tokio::task::spawn_blocking(move || capture::apply(&rules));
    applied.await?.context("--transparent")
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
