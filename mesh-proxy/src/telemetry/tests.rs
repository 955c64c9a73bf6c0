use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mesh_api::name::DestinationName;

use super::access_log::{Rfc3339, write_line};
use super::series::MAX_SERIES;
use super::*;

/// `demo/catalog:80`, and a backend of it.
static NAMES: LazyLock<[DestinationName; 2]> =
    LazyLock::new(|| ["demo/catalog:80", "demo/catalog-v2:80"].map(|name| name.parse().unwrap()));

fn event<'a>() -> ExchangeEvent<'a> {
    ExchangeEvent {
        direction: Direction::Outbound,
        destination: Some(&NAMES[0]),
        backend: Some(&NAMES[1]),
        endpoint: None,
        route: None,
        peer: None,
        method: "GET",
        host: "catalog",
        path: "/",
        status: 200,
        reason: None,
        attempts: 1,
        bytes_in: 10,
        bytes_out: 20,
        duration: Duration::from_micros(700),
        traceparent: None,
        fault: None,
    }
}

fn key<'a>() -> SeriesKey<'a> {
    SeriesKey {
        direction: Direction::Outbound,
        destination: Some(&NAMES[0]),
        backend: Some(&NAMES[1]),
    }
}

fn telemetry(sink: &Sink) -> Arc<Telemetry> {
    Telemetry::new("demo/shop".parse().unwrap(), sink).unwrap()
}

#[test]
fn workers_are_added_up() {
    let telemetry = telemetry(&Sink::Off);
    for _ in 0..2 {
        let shard = telemetry.shard();
        let id = shard.series(key());
        assert_eq!(shard.series(key()), id, "resolved once");
        shard.exchange(id, &event());
        shard.exchange(
            id,
            &ExchangeEvent {
                status: 503,
                reason: Some("no-endpoint"),
                attempts: 3,
                ..event()
            },
        );
        shard.connection_opened(Direction::Inbound);
    }
    telemetry.shard().connection_closed(Direction::Inbound);
    telemetry.ejection(&Ejection {
        backend: "a\"b\\c\n",
        endpoint: "127.0.0.1:1".parse().unwrap(),
        reason: "connect",
        duration: Duration::from_secs(1),
    });
    let text = telemetry.render();
    let destination = r#"direction="outbound",destination="demo/catalog:80""#;
    for expected in [
        format!(
            r#"mesh_requests_total{{{destination},backend="demo/catalog-v2:80",status="2xx",reason=""}} 2"#
        ),
        format!(
            r#"mesh_requests_total{{{destination},backend="demo/catalog-v2:80",status="5xx",reason="no-endpoint"}} 2"#
        ),
        format!(r#"mesh_request_duration_seconds_bucket{{{destination},le="0.0005"}} 0"#),
        format!(r#"mesh_request_duration_seconds_bucket{{{destination},le="0.001"}} 4"#),
        format!(r#"mesh_request_duration_seconds_bucket{{{destination},le="+Inf"}} 4"#),
        format!("mesh_request_duration_seconds_sum{{{destination}}} 0.0028"),
        format!("mesh_request_duration_seconds_count{{{destination}}} 4"),
        format!("mesh_retries_total{{{destination}}} 4"),
        r#"mesh_connections_active{direction="inbound"} 1"#.into(),
        r#"mesh_ejections_total{backend="a\"b\\c\n",reason="connect"} 1"#.into(),
        "mesh_config_nacks_total 0".into(),
    ] {
        assert!(
            text.lines().any(|line| line == expected),
            "{expected}\nmissing in\n{text}"
        );
    }
}

#[test]
fn series_are_bounded() {
    let telemetry = telemetry(&Sink::Off);
    let shard = telemetry.shard();
    for n in 0..MAX_SERIES + 50 {
        let destination = format!("demo/s{n}:80").parse().unwrap();
        let id = shard.series(SeriesKey {
            destination: Some(&destination),
            ..key()
        });
        shard.exchange(id, &event());
    }
    let text = telemetry.render();
    let overflow = r#"mesh_requests_total{direction="outbound",destination="overflow",backend="overflow",status="2xx",reason=""} 50"#;
    assert!(text.lines().any(|line| line == overflow));
    let (all, overflowed) = telemetry.table.all();
    assert_eq!((all.len(), overflowed), (MAX_SERIES + 1, 50));
}

#[test]
fn log_lines_are_json_whatever_a_peer_sends() {
    let route = "demo/catalog".parse().unwrap();
    let peer = "spiffe://cluster.local/ns/demo/sa/shop".parse().unwrap();
    let mut line = String::new();
    let hostile = ExchangeEvent {
        host: "a\"\\\u{0}\u{7f}\u{9b}\r\né",
        route: Some((&route, 3)),
        peer: Some(&peer),
        endpoint: Some("[::1]:80".parse().unwrap()),
        reason: Some("reset"),
        traceparent: Some(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ..event()
    };
    let workload = "demo/shop".parse().unwrap();
    let time = UNIX_EPOCH + Duration::from_millis(1_791_417_599_250);
    write_line(&mut line, &workload, time, &hostile);
    assert_eq!(line.matches('\n').count(), 1);
    assert!(line.chars().all(|c| c == '\n' || !c.is_control()), "{line}");
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    let expected = serde_json::json!({
        "time": Rfc3339(time).to_string(), "direction": "outbound", "workload": "demo/shop",
        "destination": "demo/catalog:80", "backend": "demo/catalog-v2:80", "endpoint": "[::1]:80",
        "route": "demo/catalog", "rule": 3, "peer": peer, "method": "GET", "host": hostile.host,
        "path": "/", "status": 200, "reason": "reset", "attempts": 1, "bytesIn": 10, "bytesOut": 20,
        "durationMs": 0.7, "traceId": "0af7651916cd43dd8448eb211c80319c",
    });
    assert_eq!(value, expected);
    for bad in [
        &b"00-short"[..],
        b"00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        b"",
    ] {
        line.clear();
        let event = ExchangeEvent {
            traceparent: Some(bad),
            ..event()
        };
        write_line(&mut line, &workload, time, &event);
        assert!(!line.contains("traceId"), "{line}");
    }
}

#[test]
fn times_are_rfc3339() {
    for (seconds, text) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_400, "2000-02-29T00:00:00.000Z"),
        (1_735_689_599, "2024-12-31T23:59:59.000Z"),
        (4_107_542_400, "2100-03-01T00:00:00.000Z"),
    ] {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(Rfc3339(time).to_string(), text);
    }
}

#[test]
fn lines_reach_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let telemetry = telemetry(&Sink::File(path.clone()));
    let shard = telemetry.shard();
    let id = shard.series(key());
    for _ in 0..100 {
        shard.exchange(id, &event());
    }
    telemetry.flush();
    assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), 100);
    assert_eq!(telemetry.dropped_lines(), 0);
}
