//! The bootstrap of a proxy in a pod: from its environment, as injection writes it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use mesh_api::error::Faults;
use mesh_api::name::{Name, Namespace, ObjectName};
use mesh_api::pod::{
    CHECK_PORT, INBOUND_PORT, MEMORY_FOLDER, OBSERVE_PORT, OUTBOUND_PORT, Probes, STATE_FOLDER,
    TOKEN_FILE, TOKEN_FOLDER, env,
};

use super::{
    AccessLog, AppAddress, Bootstrap, BootstrapError, Capture, Ends, RootHash, ServiceAccountToken,
};

/// Most addresses of a pod: one of each family.
const MAX_ADDRESSES: usize = 2;

impl Bootstrap {
    /// Reads the environment through `variable`. `has_ipv6` tells whether this network knows IPv6.
    ///
    /// # Errors
    /// Every variable that is missing or wrong.
    pub fn of_pod(
        variable: impl Fn(&str) -> Option<String>,
        has_ipv6: bool,
    ) -> Result<Self, BootstrapError> {
        let mut read = Read {
            variable,
            faults: Faults::default(),
        };
        let built = read.bootstrap(has_ipv6);
        let bootstrap = built.filter(|_| read.faults.is_empty());
        let bootstrap = bootstrap.ok_or(BootstrapError::Invalid(read.faults.into_vec()))?;
        bootstrap.check()?;
        Ok(bootstrap)
    }
}

struct Read<V> {
    variable: V,
    faults: Faults,
}

impl<V: Fn(&str) -> Option<String>> Read<V> {
    fn bootstrap(&mut self, has_ipv6: bool) -> Option<Bootstrap> {
        let namespace = self.parse::<Namespace>(env::POD_NAMESPACE);
        let name = self.parse::<Name>(env::POD_NAME);
        let account = self.parse::<Name>(env::SERVICE_ACCOUNT);
        let addresses = self.list::<IpAddr>(env::POD_IPS);
        let control = self.required(env::CONTROL);
        let root_hashes = self.list::<RootHash>(env::ROOT_HASHES);
        let probes = self.probes();
        let drain = self.optional::<u64>(env::DRAIN_SECONDS);
        let workers = self.optional::<usize>(env::WORKERS);
        let access_log = self.optional::<bool>(env::ACCESS_LOG);

        let address = *addresses.first()?;
        let workload = ObjectName::new(namespace?, name?);
        let memory = Path::new(MEMORY_FOLDER);
        let mut bootstrap = Bootstrap::new(workload, account?, address, memory);
        bootstrap.more_addresses = addresses
            .into_iter()
            .skip(1)
            .take(MAX_ADDRESSES - 1)
            .collect();
        bootstrap.state_dir = Path::new(STATE_FOLDER).join("state");
        bootstrap.control = Some(control?);
        bootstrap.service_account_token = Some(ServiceAccountToken {
            file: Path::new(TOKEN_FOLDER).join(TOKEN_FILE),
            root_hashes,
        });
        bootstrap.app_address = AppAddress::Dialled;
        bootstrap.capture = Some(capture(has_ipv6));
        let every = unspecified(has_ipv6);
        bootstrap.observe = Some(SocketAddr::new(every, OBSERVE_PORT));
        bootstrap.probes = probes;
        bootstrap.ends = Ends::AfterApp;
        if let Some(seconds) = drain {
            bootstrap.drain = Duration::from_secs(seconds);
        }
        if access_log == Some(true) {
            // Beside its own log, which goes to standard error: the kubelet keeps both.
            bootstrap.access_log = AccessLog::Stdout;
        }
        if let Some(workers) = workers {
            bootstrap.workers = workers;
        }
        Some(bootstrap)
    }

    fn required(&mut self, name: &str) -> Option<String> {
        let value = (self.variable)(name).filter(|value| !value.trim().is_empty());
        if value.is_none() {
            self.faults.field(name, |f| {
                f.refuse(
                    "is not set; `mesh-proxy pod` is started by the container that injection adds",
                );
            });
        }
        value
    }

    fn parse<T: FromStr>(&mut self, name: &str) -> Option<T>
    where
        T::Err: std::fmt::Display,
    {
        let text = self.required(name)?;
        let parsed = text.trim().parse::<T>();
        self.faults.field(name, |f| f.take(parsed))
    }

    fn optional<T: FromStr>(&mut self, name: &str) -> Option<T>
    where
        T::Err: std::fmt::Display,
    {
        (self.variable)(name)?;
        self.parse(name)
    }

    /// A comma list of one or more.
    fn list<T: FromStr>(&mut self, name: &str) -> Vec<T>
    where
        T::Err: std::fmt::Display,
    {
        let text = self.required(name).unwrap_or_default();
        let entries = text
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty());
        let parsed: Vec<_> = entries.map(str::parse::<T>).collect();
        self.faults.field(name, |f| {
            let taken = parsed.into_iter().filter_map(|entry| f.take(entry));
            taken.collect()
        })
    }

    fn probes(&mut self) -> Probes {
        let Some(text) = (self.variable)(env::PROBES) else {
            return Probes::default();
        };
        let parsed = serde_json::from_str(&text);
        let probes = self.faults.field(env::PROBES, |f| f.take(parsed));
        probes.unwrap_or_default()
    }
}

/// Listeners of both families, where the network has both.
fn capture(has_ipv6: bool) -> Capture {
    let both = |four: Ipv4Addr, six: Ipv6Addr, port: u16| {
        let six = has_ipv6.then_some(IpAddr::V6(six));
        let addresses = [IpAddr::V4(four)].into_iter().chain(six);
        addresses.map(|ip| SocketAddr::new(ip, port)).collect()
    };
    Capture {
        outbound: both(Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST, OUTBOUND_PORT),
        inbound: both(Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED, INBOUND_PORT),
        check_port: Some(CHECK_PORT),
    }
}

/// Every address of either family.
fn unspecified(has_ipv6: bool) -> IpAddr {
    if has_ipv6 {
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn environment() -> HashMap<&'static str, String> {
        HashMap::from([
            (env::POD_NAME, "web-0".to_owned()),
            (env::POD_NAMESPACE, "demo".to_owned()),
            (env::SERVICE_ACCOUNT, "web".to_owned()),
            (env::POD_IPS, "10.1.2.3,fd00::3".to_owned()),
            (
                env::CONTROL,
                "mesh-control.mesh-system.svc:15012".to_owned(),
            ),
            (
                env::ROOT_HASHES,
                format!("{},{}", "0a".repeat(32), "0b".repeat(32)),
            ),
            (
                env::PROBES,
                r#"{"app":{"liveness":{"tcpSocket":{"port":80}}}}"#.to_owned(),
            ),
            (env::DRAIN_SECONDS, "20".to_owned()),
        ])
    }

    #[test]
    fn a_pods_environment_is_a_bootstrap() {
        let environment = environment();
        let read = Bootstrap::of_pod(|name| environment.get(name).cloned(), true).unwrap();
        assert_eq!(read.workload.to_string(), "demo/web-0");
        let addresses: Vec<_> = read.addresses().map(|ip| ip.to_string()).collect();
        assert_eq!(addresses, ["10.1.2.3", "fd00::3"]);
        assert_eq!(read.service_account_token.unwrap().root_hashes.len(), 2);
        assert_eq!(read.app_address, AppAddress::Dialled);
        assert_eq!(read.drain, Duration::from_secs(20));
        assert_eq!(read.capture.unwrap().outbound.len(), 2);
        assert!(read.probes.find("/probe/app/liveness").is_some());
    }

    #[test]
    fn every_wrong_variable_is_named() {
        let mut environment = environment();
        environment.remove(env::CONTROL);
        environment.insert(env::POD_IPS, "10.1.2.300".to_owned());
        environment.insert(env::WORKERS, "many".to_owned());
        let error = Bootstrap::of_pod(|name| environment.get(name).cloned(), false).unwrap_err();
        let text = error.to_string();
        for name in [env::CONTROL, env::POD_IPS, env::WORKERS] {
            assert!(text.contains(&format!("{name}: ")), "{text}");
        }
    }
}
