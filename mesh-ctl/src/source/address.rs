//! Addresses of workloads on one machine: each its own in 127/8 where the system has it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use anyhow::Context;

use crate::source::state::hash;

/// Where a tunnel listens by default.
pub(crate) const TUNNEL_PORT: u16 = 15008;
/// Addresses tried before giving up.
const TRIES: u32 = 64;

/// A loopback address of its own for the workload `key`, the same at every start unless taken.
///
/// `ports` must be free there. Systems without the whole of 127/8 share 127.0.0.1.
pub(crate) fn own_address(key: &str, ports: &[u16]) -> anyhow::Result<IpAddr> {
    if !cfg!(target_os = "linux") {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    (0..TRIES)
        .map(|attempt| candidate(key, attempt))
        .find(|&address| ports.iter().all(|&port| is_free((address, port).into())))
        .with_context(|| {
            format!(
                "no free address in 127/8 for {key} after {TRIES} tries; give one with --address"
            )
        })
}

/// Ports that systems do not give to outgoing connections: one found free stays so until it is used.
const QUIET: std::ops::Range<u16> = 20_000..32_000;

/// A TCP port free on `address` at this moment.
pub(crate) fn free_port(address: IpAddr) -> anyhow::Result<u16> {
    let quiet = (0..64).map(|_| fastrand::u16(QUIET));
    if let Some(port) = quiet
        .into_iter()
        .find(|port| is_free((address, *port).into()))
    {
        return Ok(port);
    }
    let listener =
        TcpListener::bind((address, 0)).with_context(|| format!("cannot listen on {address}"))?;
    Ok(listener.local_addr()?.port())
}

/// True if nothing listens on `address`.
pub(crate) fn is_free(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_ok()
}

fn candidate(key: &str, attempt: u32) -> IpAddr {
    let [a, b, c, ..] = hash(format!("{key}#{attempt}").as_bytes()).to_be_bytes();
    // 127.0/16 is left to people; .0 and .255 look like network addresses.
    let octet = |byte: u8| byte.clamp(1, 254);
    Ipv4Addr::new(127, octet(a), octet(b), octet(c)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_stable_distinct_and_avoid_taken_ports() {
        let port = free_port(Ipv4Addr::LOCALHOST.into()).unwrap();
        let first = own_address("state demo/shop", &[port]).unwrap();
        assert_eq!(first, own_address("state demo/shop", &[port]).unwrap());
        assert!(first.is_loopback());
        if cfg!(target_os = "linux") {
            let _held = TcpListener::bind((first, port)).unwrap();
            let second = own_address("state demo/shop", &[port]).unwrap();
            assert_ne!(first, second, "a taken address is passed over");
        }
    }
}
