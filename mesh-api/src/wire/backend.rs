//! A backend of a destination, with its endpoints.

use std::time::Duration;

use crate::error::Faults;
use crate::model::backend::{Backend, Endpoint, Transport};
use crate::model::destination::Protocol;
use crate::model::origin::Sourced;
use crate::model::policy::BackendSettings;
use crate::name::Port;
use crate::wire::generated as wire;
use crate::wire::{affinity, breaker, destination, health, locality, outlier, read};

pub(super) fn write(from: &Backend) -> wire::Backend {
    let settings = &from.settings;
    wire::Backend {
        name: from.name.to_string(),
        connect_timeout_nanos: read::nanos(settings.connect_timeout.value),
        connect_timeout_origin: read::write_origin(&settings.connect_timeout.origin),
        algorithm: affinity::write_algorithm(settings.algorithm.value).into(),
        algorithm_origin: read::write_origin(&settings.algorithm.origin),
        pool_idle_nanos: read::nanos(settings.pool_idle.value),
        pool_idle_origin: read::write_origin(&settings.pool_idle.origin),
        tcp_idle_nanos: settings.tcp_idle.value.map(read::nanos),
        tcp_idle_origin: read::write_origin(&settings.tcp_idle.origin),
        max_connection_age_nanos: settings.max_connection_age.value.map(read::nanos),
        max_connection_age_origin: read::write_origin(&settings.max_connection_age.origin),
        endpoints: from.endpoints.iter().map(write_endpoint).collect(),
        protocol: destination::write_protocol(from.protocol).into(),
        limits: breaker::write_limits(&settings.limits),
        outlier_detection: settings.outlier_detection.as_ref().map(outlier::write),
        health_check: settings.health_check.as_ref().map(health::write),
        hash_on: settings
            .hash_on
            .value
            .iter()
            .map(affinity::write_source)
            .collect(),
        hash_on_origin: read::write_origin(&settings.hash_on.origin),
        slow_start_nanos: settings.slow_start.value.map(read::nanos),
        slow_start_origin: read::write_origin(&settings.slow_start.origin),
        locality: locality::write_preference(&settings.locality),
    }
}

pub(super) fn read(from: &wire::Backend, faults: &mut Faults) -> Option<Backend> {
    let name = read::text("name", &from.name, faults);
    let connect = duration("connectTimeout", from.connect_timeout_nanos, faults);
    let origin = from.connect_timeout_origin.as_ref();
    let connect_timeout = read::sourced(connect, "connectTimeoutOrigin", origin, faults);
    let algorithm = read::choice(
        "algorithm",
        from.algorithm,
        faults,
        affinity::read_algorithm,
    );
    let origin = from.algorithm_origin.as_ref();
    let algorithm = read::sourced(algorithm, "algorithmOrigin", origin, faults);
    let hash_on = affinity::read_sources("hashOn", &from.hash_on, faults);
    let origin = from.hash_on_origin.as_ref();
    let hash_on = read::sourced(hash_on, "hashOnOrigin", origin, faults);
    let slow_start = slow_start(from, faults);
    let idle = duration("poolIdle", from.pool_idle_nanos, faults);
    let pool_idle = read::sourced(
        idle,
        "poolIdleOrigin",
        from.pool_idle_origin.as_ref(),
        faults,
    );
    let tcp_idle = read::sourced(
        limit("tcpIdle", from.tcp_idle_nanos, faults),
        "tcpIdleOrigin",
        from.tcp_idle_origin.as_ref(),
        faults,
    );
    let age = limit("maxConnectionAge", from.max_connection_age_nanos, faults);
    let origin = from.max_connection_age_origin.as_ref();
    let max_connection_age = read::sourced(age, "maxConnectionAgeOrigin", origin, faults);
    let endpoints = read::list(
        "endpoints",
        &from.endpoints,
        MAX_ENDPOINTS,
        faults,
        read_endpoint,
    );
    let protocol = read::choice("protocol", from.protocol, faults, |value| {
        Some(destination::read_protocol(value).unwrap_or(Protocol::Detect))
    });
    let locality = locality::read_preference(from.locality.as_ref(), faults);
    let limits = breaker::read_limits(from.limits.as_ref(), faults);
    let check = match &from.health_check {
        None => Some(None),
        Some(check) => {
            let check = faults.field("healthCheck", |f| health::read(check, f));
            check.map(Some)
        }
    };
    let outliers = match &from.outlier_detection {
        None => Some(None),
        Some(policy) => {
            let policy = faults.field("outlierDetection", |f| outlier::read(policy, f));
            policy.map(Some)
        }
    };
    Some(Backend {
        name: name?,
        protocol: protocol?,
        settings: BackendSettings {
            connect_timeout: connect_timeout?,
            algorithm: algorithm?,
            hash_on: hash_on?,
            slow_start: slow_start?,
            locality: locality?,
            pool_idle: pool_idle?,
            limits: limits?,
            tcp_idle: tcp_idle?,
            max_connection_age: max_connection_age?,
            outlier_detection: outliers?,
            health_check: check?,
        },
        endpoints: endpoints?,
    })
}

fn slow_start(from: &wire::Backend, faults: &mut Faults) -> Option<Sourced<Option<Duration>>> {
    let window = limit("slowStart", from.slow_start_nanos, faults);
    let origin = from.slow_start_origin.as_ref();
    read::sourced(window, "slowStartOrigin", origin, faults)
}

fn write_endpoint(from: &Endpoint) -> wire::Endpoint {
    let hbone = match &from.transport {
        Transport::Hbone { identity, port } => Some(wire::Hbone {
            identity: identity.to_string(),
            port: (*port).into(),
        }),
        Transport::Plain => None,
    };
    wire::Endpoint {
        address: from.address.to_string(),
        workload: from
            .workload
            .as_ref()
            .map_or_else(String::new, ToString::to_string),
        hbone,
        weight: from.weight,
        stale: from.stale,
        locality: locality::write(from.locality.as_ref()),
    }
}

fn read_endpoint(from: &wire::Endpoint, faults: &mut Faults) -> Option<Endpoint> {
    let address = read::text::<std::net::SocketAddr>("address", &from.address, faults);
    let address = address.filter(|address| {
        let good = address.port() != 0;
        if !good {
            faults.field("address", |f| f.refuse("has port 0"));
        }
        good
    });
    let workload = read::optional("workload", &from.workload, faults);
    let transport = match &from.hbone {
        None => Some(Transport::Plain),
        Some(hbone) => faults.field("hbone", |f| {
            let identity = read::text("identity", &hbone.identity, f);
            let port = f.field("port", |f| f.take(Port::try_from(hbone.port)));
            Some(Transport::Hbone {
                identity: identity?,
                port: port?,
            })
        }),
    };
    let locality = locality::read(from.locality.as_ref(), faults);
    let weight = read::number("weight", from.weight, 1..=10_000, faults);
    Some(Endpoint {
        address: address?,
        workload: workload?,
        transport: transport?,
        weight: weight?,
        stale: from.stale,
        locality: locality?,
    })
}

/// A limit that may be absent, but not zero.
#[expect(
    clippy::option_option,
    reason = "the outer is a fault, the inner no limit"
)]
fn limit(field: &str, nanos: Option<u64>, faults: &mut Faults) -> Option<Option<Duration>> {
    match nanos {
        None => Some(None),
        Some(nanos) => duration(field, nanos, faults).map(Some),
    }
}

fn duration(field: &str, nanos: u64, faults: &mut Faults) -> Option<Duration> {
    if nanos == 0 {
        faults.field(field, |f| f.refuse("is zero"));
        return None;
    }
    Some(Duration::from_nanos(nanos))
}

const MAX_ENDPOINTS: usize = 100_000;
