//! Addresses of workloads on one machine: each its own in 127/8 where the system has it.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use anyhow::{Context, bail};

use crate::source::state::hash;

/// Where a tunnel listens by default.
pub(crate) const TUNNEL_PORT: u16 = 15008;
/// Addresses, or ports, tried before giving up.
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

/// Ports of one start, none of which is given twice: what was given is used only later.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    given: HashSet<u16>,
}

impl Ports {
    /// Notes a port that others chose.
    pub(crate) fn note(&mut self, port: u16) {
        self.given.insert(port);
    }

    /// A TCP port free on `address` at this moment and not given before.
    pub(crate) fn free(&mut self, address: IpAddr) -> anyhow::Result<u16> {
        let mut quiet = (0..TRIES).map(|_| fastrand::u16(QUIET));
        let is_free = |port: &u16| !self.given.contains(port) && is_free((address, *port).into());
        let port = match quiet.find(is_free) {
            Some(port) => port,
            None => self.by_system(address)?,
        };
        self.given.insert(port);
        Ok(port)
    }

    /// An address on 127.0.0.1 with a port of its own.
    pub(crate) fn local(&mut self) -> anyhow::Result<SocketAddr> {
        let ip = Ipv4Addr::LOCALHOST.into();
        Ok((ip, self.free(ip)?).into())
    }

    /// What the system gives: it may give a port again once it is closed, so all are held at once.
    fn by_system(&self, address: IpAddr) -> anyhow::Result<u16> {
        let mut held = Vec::new();
        for _ in 0..TRIES {
            let listener = TcpListener::bind((address, 0))
                .with_context(|| format!("cannot listen on {address}"))?;
            let port = listener.local_addr()?.port();
            if !self.given.contains(&port) {
                return Ok(port);
            }
            held.push(listener);
        }
        bail!("no free port on {address} after {TRIES} tries")
    }
}

/// A TCP port free on `address` at this moment.
pub(crate) fn free_port(address: IpAddr) -> anyhow::Result<u16> {
    Ports::default().free(address)
}

/// True if nothing listens on `address`.
pub(crate) fn is_free(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_ok()
}

/// True if something listens on `port` of 127.0.0.1.
pub(crate) fn listens(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
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
    fn ports_of_one_start_are_distinct() {
        let local = Ipv4Addr::LOCALHOST.into();
        let mut ports = Ports::default();
        let given: HashSet<u16> = (0..500).map(|_| ports.free(local).unwrap()).collect();
        assert_eq!(given.len(), 500);
        // All quiet ports are given: the system's remain.
        QUIET.for_each(|port| ports.note(port));
        let other = ports.free(local).unwrap();
        assert!(!QUIET.contains(&other));
    }

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
