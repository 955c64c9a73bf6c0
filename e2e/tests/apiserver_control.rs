//! The control plane beside a real API server: what it follows, what it writes, what it survives.

use std::time::{Duration, Instant};

use e2e::apiserver::Settings;
use e2e::figure::say;
use e2e::process::{Paused, wait_until};
use e2e::replica::{Place, Replica, SOON, conditions};
use serde_json::{Value, json};

/// The life of certificates where it does not matter, in seconds.
const DAY: u32 = 86_400;

fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"},
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 80}]},
    })
}

fn route(name: &str, parent: &str) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "parentRefs": [{"group": "", "kind": "Service", "name": parent}],
            "rules": [{"backendRefs": [{"name": parent, "port": 80}]}],
        },
    })
}

fn policy(name: &str, request: &Value) -> Value {
    json!({
        "apiVersion": "mesh.dev/v1alpha1", "kind": "TrafficPolicy",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "targetRefs": [{"kind": "Service", "name": "shop"}],
            "timeout": {"request": request},
        },
    })
}

/// The names of the Services that a replica has.
async fn services(replica: &Replica) -> anyhow::Result<Vec<String>> {
    let rows = replica.ask(&["get", "services", "-n", "shop"]).await?;
    let rows = rows.as_array().cloned().unwrap_or_default();
    let name = |row: &Value| row["name"].as_str().map(ToOwned::to_owned);
    let mut names: Vec<String> = rows.iter().filter_map(name).collect();
    names.sort();
    names.dedup();
    Ok(names)
}

#[tokio::test]
#[ignore = "builds kube-apiserver: cargo xtask e2e"]
async fn apiserver_forgets_the_place_of_a_watch() -> anyhow::Result<()> {
    let mut place = Place::start(&Settings::default()).await?;
    for name in ["stays", "goes"] {
        place.apply(service(name)).await?;
    }
    let mut replica = Replica::start(&place, "one", DAY).await?;
    assert_eq!(services(&replica).await?, ["goes", "stays"]);
    // What happens while it stands still and has no connection is forgotten by the store, and by a server
    // that starts anew.
    replica.process().pause(Paused::Yes);
    place.server.go_away()?;
    place.server.come_back().await?;
    place.remove(&service("goes")).await?;
    place.apply(service("comes")).await?;
    place.server.compact().await?;
    place.server.go_away()?;
    place.server.come_back().await?;
    replica.process().pause(Paused::No);
    let caught_up = || async { Ok(services(&replica).await? == ["comes", "stays"]) };
    wait_until("the replica has what is there", SOON, caught_up).await?;
    let lists = replica
        .sample("mesh_control_watch_lists_total{watch=\"Service\"}")
        .await?;
    assert_eq!(
        lists, 2,
        "the first, and one for the place that was forgotten"
    );
    // It goes on from there.
    place.apply(service("later")).await?;
    let follows = || async { Ok(services(&replica).await? == ["comes", "later", "stays"]) };
    wait_until("the watch goes on", SOON, follows).await
}

#[tokio::test]
#[ignore = "builds kube-apiserver: cargo xtask e2e"]
async fn apiserver_without_streamed_lists_gives_plain_ones() -> anyhow::Result<()> {
    let settings = Settings {
        arguments: vec!["--feature-gates=WatchList=false".into()],
    };
    let place = Place::start(&settings).await?;
    place.apply(service("shop")).await?;
    let replica = Replica::start(&place, "one", DAY).await?;
    place.apply(route("plain", "shop")).await?;
    let said = place
        .await_condition(&route("plain", "shop"), "Accepted=True Accepted")
        .await?;
    assert_eq!(said, "");
    assert_eq!(services(&replica).await?, ["shop"]);
    Ok(())
}

#[tokio::test]
#[ignore = "builds kube-apiserver: cargo xtask e2e"]
async fn apiserver_gives_objects_of_shapes_that_nobody_knows() -> anyhow::Result<()> {
    let place = Place::start(&Settings::default()).await?;
    place.apply(service("shop")).await?;
    // A definition of a later release, with a field that is not known here.
    let mut newer = place
        .definition("httproutes.gateway.networking.k8s.io")
        .await?;
    let versions = newer["spec"]["versions"].as_array_mut();
    for version in versions.into_iter().flatten() {
        let spec = &mut version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
        spec["shiny"] = json!({"type": "boolean"});
    }
    place.apply(newer).await?;
    // A definition without any types.
    let mut loose = place.definition("trafficpolicies.mesh.dev").await?;
    let versions = loose["spec"]["versions"].as_array_mut();
    for version in versions.into_iter().flatten() {
        let spec = &mut version["schema"]["openAPIV3Schema"]["properties"]["spec"];
        *spec = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    }
    place.apply(loose).await?;
    let replica = Replica::start(&place, "one", DAY).await?;

    let mut shiny = route("shiny", "shop");
    shiny["spec"]["shiny"] = true.into();
    let keeps = || async {
        let applied = place.apply(shiny.clone()).await?;
        Ok(applied["spec"]["shiny"] == true)
    };
    wait_until("the server keeps the field", SOON, keeps).await?;
    let unsupported = "Accepted=False UnsupportedValue";
    let said = place.await_condition(&shiny, unsupported).await?;
    assert!(said.contains("shiny"), "{said}");

    let wrong = policy("wrong", &json!({"seconds": [7]}));
    let takes = || async { Ok(place.apply(wrong.clone()).await.is_ok()) };
    wait_until("the server takes any policy", SOON, takes).await?;
    let said = place.await_condition(&wrong, unsupported).await?;
    assert!(said.contains("invalid type"), "{said}");

    // Neither stops what comes after them.
    let later = policy("later", &json!("3s"));
    place.apply(later.clone()).await?;
    place
        .await_condition(&later, "Accepted=True Accepted")
        .await?;
    place.apply(route("later", "shop")).await?;
    place
        .await_condition(&route("later", "shop"), "Accepted=True Accepted")
        .await?;
    for watch in ["HTTPRoute", "TrafficPolicy"] {
        let sample = format!("mesh_control_watch_failing{{watch=\"{watch}\"}}");
        assert_eq!(replica.sample(&sample).await?, 0, "{watch}");
    }
    Ok(())
}

#[tokio::test]
#[ignore = "builds kube-apiserver: cargo xtask e2e"]
async fn apiserver_has_one_writer_of_status_among_replicas() -> anyhow::Result<()> {
    let place = Place::start(&Settings::default()).await?;
    place.apply(service("shop")).await?;
    let mut one = Replica::start(&place, "one", DAY).await?;
    let two = Replica::start(&place, "two", DAY).await?;
    let object = route("led", "shop");
    place.apply(object.clone()).await?;
    place
        .await_condition(&object, "Accepted=True Accepted")
        .await?;
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "mesh-control", "namespace": "mesh-system"},
    });
    let holder = || async {
        let lease = place.read(&lease).await?;
        let holder = lease["spec"]["holderIdentity"].as_str();
        anyhow::Ok(holder.unwrap_or_default().to_owned())
    };
    assert_eq!(holder().await?, "one", "the first one leads");
    // Two who disagree would write in turns.
    let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
    let settled = version(&place.read(&object).await?);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(version(&place.read(&object).await?), settled);
    assert!(two.is_ready().await?, "each serves, whoever leads");

    one.process().kill()?;
    let died = Instant::now();
    let mut changed = object.clone();
    changed["spec"]["rules"][0]["backendRefs"][0]["name"] = "nowhere".into();
    place.apply(changed.clone()).await?;
    let said = place
        .await_condition(&changed, "ResolvedRefs=False BackendNotFound")
        .await?;
    assert!(said.contains("nowhere"), "{said}");
    assert_eq!(holder().await?, "two");
    let after = died.elapsed();
    say(format!("the next leader wrote {after:.1?} after a death"));
    Ok(())
}

#[tokio::test]
#[ignore = "builds kube-apiserver: cargo xtask e2e"]
async fn apiserver_keeps_the_authority() -> anyhow::Result<()> {
    let place = Place::start(&Settings::default()).await?;
    let mut replica = Replica::start(&place, "one", DAY).await?;
    let object = |kind: &str, name: &str| {
        json!({
            "apiVersion": "v1", "kind": kind,
            "metadata": {"name": name, "namespace": "mesh-system"},
        })
    };
    let secret = object("Secret", "mesh-ca-intermediate");
    let first = place.read(&secret).await?;
    let root = place.read(&object("Secret", "mesh-ca-root")).await?;
    // One that cannot be read leaves the one before in force.
    let mut broken = secret.clone();
    broken["type"] = first["type"].clone();
    broken["data"] = json!({"tls.crt": "bm9uZQ==", "tls.key": "bm9uZQ==", "root.crt": "bm9uZQ=="});
    place.apply(broken).await?;
    let says = || async { Ok(replica.log().contains("mesh-ca-intermediate[")) };
    wait_until("the replica says what it cannot read", SOON, says).await?;
    assert!(replica.is_ready().await?);
    // One that is gone is made anew by the same root.
    place.remove(&secret).await?;
    let made = || async {
        let now = place.read(&secret).await;
        Ok(now.is_ok_and(|now| now["data"]["tls.crt"] != first["data"]["tls.crt"]))
    };
    wait_until("another intermediate", SOON, made).await?;
    let now = place.read(&secret).await?;
    assert_eq!(now["data"]["root.crt"], root["data"]["tls.crt"]);
    // Without the root's key everything goes on.
    place.remove(&object("Secret", "mesh-ca-root")).await?;
    replica.process().check_alive()?;
    let second = Replica::start(&place, "two", DAY).await?;
    assert!(second.is_ready().await?);
    assert!(place.read(&object("Secret", "mesh-ca-root")).await.is_err());
    Ok(())
}

#[tokio::test]
#[ignore = "builds kube-apiserver: cargo xtask e2e"]
async fn apiserver_away_makes_no_storm() -> anyhow::Result<()> {
    let log = tempfile::NamedTempFile::new()?;
    let rules = tempfile::NamedTempFile::new()?;
    let rule = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\n\
                rules: [{ level: Metadata }]\n";
    std::fs::write(rules.path(), rule)?;
    let settings = Settings {
        arguments: vec![
            format!("--audit-log-path={}", log.path().display()),
            format!("--audit-policy-file={}", rules.path().display()),
        ],
    };
    let mut place = Place::start(&settings).await?;
    place.apply(service("shop")).await?;
    let replicas = [
        Replica::start(&place, "one", DAY).await?,
        Replica::start(&place, "two", DAY).await?,
    ];
    let object = route("away", "shop");
    place.apply(object.clone()).await?;
    place
        .await_condition(&object, "Accepted=True Accepted")
        .await?;
    place.server.go_away()?;
    tokio::time::sleep(Duration::from_secs(20)).await;
    for replica in &replicas {
        assert!(replica.is_ready().await?, "they serve what they have");
    }
    std::fs::write(log.path(), "")?;
    place.server.come_back().await?;
    let back = Instant::now();
    let mut changed = object.clone();
    changed["spec"]["rules"][0]["backendRefs"][0]["name"] = "nowhere".into();
    place.apply(changed.clone()).await?;
    place
        .await_condition(&changed, "ResolvedRefs=False BackendNotFound")
        .await?;
    let after = back.elapsed();
    tokio::time::sleep(Duration::from_secs(12)).await;
    let asked = Asked::read(&std::fs::read_to_string(log.path())?);
    say(format!(
        "after 20 s away: {asked:?} by two replicas in 12 s; status {after:.1?} after the return"
    ));
    // 18 watches and that of the definitions: each may list once anew, and try a few times meanwhile.
    assert!(asked.lists <= 2 * 19, "{asked:?}");
    assert!(asked.all <= 2 * 19 * 8, "{asked:?}");
    assert!(
        asked.watches >= 2 * 8,
        "the log has what they asked: {asked:?}"
    );
    Ok(())
}

/// What replicas asked, each request once.
#[derive(Debug, Default)]
struct Asked {
    all: usize,
    /// Watches that go on where they were.
    watches: usize,
    /// Lists that were given, streamed ones among them.
    lists: usize,
}

impl Asked {
    fn read(log: &str) -> Self {
        let mut asked = Self::default();
        let mut seen = std::collections::BTreeSet::new();
        let events = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let ours =
            events.filter(|event| event["impersonatedUser"]["username"] == e2e::replica::ACCOUNT);
        for event in ours.filter(|event| seen.insert(event["auditID"].to_string())) {
            asked.all += 1;
            let is_given = event["responseStatus"]["code"] == 200;
            let uri = event["requestURI"].as_str().unwrap_or_default();
            match event["verb"].as_str() {
                Some("list") if is_given => asked.lists += 1,
                Some("watch") if is_given && uri.contains("sendInitialEvents=true") => {
                    asked.lists += 1;
                }
                Some("watch") if is_given => asked.watches += 1,
                _ => {}
            }
        }
        asked
    }
}

#[tokio::test]
#[ignore = "builds kube-apiserver: cargo xtask e2e"]
async fn apiserver_with_many_services_is_read_soon() -> anyhow::Result<()> {
    const SERVICES: usize = 2_000;
    const EACH: usize = 5;
    let place = Place::start(&Settings::default()).await?;
    let mut making = tokio::task::JoinSet::new();
    let place = std::sync::Arc::new(place);
    for part in 0..16 {
        let place = std::sync::Arc::clone(&place);
        making.spawn(async move {
            for number in (part..SERVICES).step_by(16) {
                let name = format!("many-{number}");
                let object = service(&name);
                place.apply(object).await?;
                place.apply(slice(&name, number, EACH)).await?;
            }
            anyhow::Ok(())
        });
    }
    for made in making.join_all().await {
        made?;
    }
    let begun = Instant::now();
    let mut replica = Replica::launch(&place, "one", DAY)?;
    replica.await_ready().await?;
    let cold = begun.elapsed();
    let resident = replica.resident()?;
    let held = services(&replica).await?.len();
    say(format!(
        "{SERVICES} Services with {} endpoints: ready {cold:.1?} after the start, {} MiB",
        SERVICES * EACH,
        resident / 1024
    ));
    assert_eq!(held, SERVICES);
    assert!(cold <= Duration::from_secs(5), "{cold:?}");
    assert!(resident <= 300 * 1024, "{resident} KiB");
    Ok(())
}

fn slice(service: &str, number: usize, each: usize) -> Value {
    let endpoints: Vec<Value> = (0..each)
        .map(|endpoint| {
            let address = format!(
                "10.{}.{}.{}",
                128 + number / 200,
                number % 200,
                endpoint + 1
            );
            json!({"addresses": [address], "conditions": {"ready": true}})
        })
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": service, "namespace": "shop",
            "labels": {"kubernetes.io/service-name": service},
        },
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": endpoints,
    })
}

#[tokio::test]
#[ignore = "builds kube-apiserver: cargo xtask e2e"]
async fn apiserver_is_asked_about_no_status_that_stands() -> anyhow::Result<()> {
    let place = Place::start(&Settings::default()).await?;
    place.apply(service("shop")).await?;
    let object = route("stands", "shop");
    {
        let _first = Replica::start(&place, "one", DAY).await?;
        place.apply(object.clone()).await?;
        place
            .await_condition(&object, "Accepted=True Accepted")
            .await?;
    }
    let before = place.read(&object).await?;
    let second = Replica::start(&place, "two", DAY).await?;
    let leads = || async { Ok(second.log().contains("leads=true")) };
    wait_until("the second leads", SOON, leads).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = place.read(&object).await?;
    let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
    assert_eq!(version(&after), version(&before));
    assert_eq!(conditions(&after).count(), 2);
    Ok(())
}

#[tokio::test]
#[ignore = "builds kube-apiserver: cargo xtask e2e"]
async fn apiserver_has_a_status_for_each_parent() -> anyhow::Result<()> {
    let place = Place::start(&Settings::default()).await?;
    place.apply(service("shop")).await?;
    let replica = Replica::start(&place, "one", DAY).await?;
    // Of a Gateway alone, and with what only its controller knows: never touched, never a fault.
    let mut edge = route("edge", "shop");
    edge["spec"]["parentRefs"] = json!([{"name": "edge"}]);
    place.apply(edge.clone()).await?;
    let mut mixed = route("mixed", "shop");
    let parent = |name: &str| json!({"group": "", "kind": "Service", "name": name});
    mixed["spec"]["parentRefs"] = json!([{"name": "edge"}, parent("shop"), parent("gone")]);
    place.apply(mixed.clone()).await?;
    place
        .await_condition(&mixed, "Accepted=False NoMatchingParent")
        .await?;
    let now = place.read(&mixed).await?;
    let entries = now["status"]["parents"].as_array().cloned();
    let entries = entries.unwrap_or_default();
    let said: Vec<(&Value, &Value)> = entries
        .iter()
        .map(|entry| {
            (
                &entry["parentRef"]["name"],
                &entry["conditions"][0]["status"],
            )
        })
        .collect();
    let (shop, gone) = (json!("shop"), json!("gone"));
    let (yes, no) = (json!("True"), json!("False"));
    assert_eq!(said, [(&shop, &yes), (&gone, &no)], "{now}");
    // It was seen before the other, and nothing was written.
    let edge = place.read(&edge).await?;
    let parents = edge["status"]["parents"].as_array();
    assert!(parents.is_none_or(Vec::is_empty), "{edge}");
    // The route that lacks a parent, and not that of the Gateway.
    assert_eq!(replica.sample("mesh_control_resources_refused").await?, 1);
    Ok(())
}

#[tokio::test]
#[ignore = "builds kube-apiserver: cargo xtask e2e"]
async fn apiserver_keeps_the_trust_domain() -> anyhow::Result<()> {
    let place = Place::start(&Settings::default()).await?;
    let mesh = |domain: &str| {
        json!({
            "apiVersion": "mesh.dev/v1alpha1", "kind": "Mesh", "metadata": {"name": "default"},
            "spec": {"trustDomain": domain},
        })
    };
    place.apply(mesh("first.example")).await?;
    {
        let _first = Replica::start(&place, "one", DAY).await?;
        place
            .await_condition(&mesh("first.example"), "Accepted=True Accepted")
            .await?;
    }
    // A change is refused by the definition; one Mesh after another, while nobody looks, is not.
    let refused = place.apply(mesh("second.example")).await.unwrap_err();
    assert!(refused.to_string().contains("cannot change"), "{refused}");
    place.remove(&mesh("first.example")).await?;
    place.apply(mesh("second.example")).await?;
    let _second = Replica::start(&place, "two", DAY).await?;
    let said = place
        .await_condition(&mesh("second.example"), "Accepted=False UnsupportedValue")
        .await?;
    assert!(said.contains("first.example"), "{said}");
    let roots = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "mesh-ca-roots", "namespace": "mesh-system"},
    });
    let kept = place.read(&roots).await?;
    assert_eq!(kept["data"]["trustDomain"], "first.example");
    Ok(())
}
