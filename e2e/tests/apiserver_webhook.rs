//! What the API server refuses of our kinds: by their definitions, and by asking the control plane.

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use e2e::apiserver::Settings;
use e2e::demo::meshctl;
use e2e::figure::say;
use e2e::process::{output, wait_until};
use e2e::replica::{Place, Replica, SOON};
use serde_json::{Value, json};

fn policy(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "mesh.dev/v1alpha1", "kind": "TrafficPolicy",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": spec,
    })
}

/// One that its definition takes and its checks do not.
fn wrong(name: &str) -> Value {
    let target = json!([{"kind": "Service", "name": "shop"}]);
    let spec = json!({"targetRefs": target, "timeout": {"request": "2s", "perTry": "9s"}});
    policy(name, &spec)
}

fn good(name: &str) -> Value {
    let target = json!([{"kind": "Service", "name": "shop"}]);
    let spec = json!({"targetRefs": target, "timeout": {"request": "2s"}});
    policy(name, &spec)
}

/// The faults that `meshctl validate` finds, without their places in the file.
async fn validated(object: &Value) -> anyhow::Result<Vec<String>> {
    let mut file = tempfile::Builder::new().suffix(".yaml").tempfile()?;
    file.write_all(object.to_string().as_bytes())?;
    let mut command = Command::new(meshctl()?);
    command.args(["validate", "-o", "json"]).arg(file.path());
    let ended = output(&mut command, Duration::from_mins(1)).await?;
    let said: Value = serde_json::from_str(&ended.out).with_context(|| format!("{ended:?}"))?;
    let faults = said["faults"].as_array().or_else(|| said.as_array());
    let text = |fault: &Value| {
        let field = |name: &str| fault[name].as_str().unwrap_or_default().to_owned();
        format!("{}: {}", field("path"), field("reason"))
    };
    Ok(faults.into_iter().flatten().map(text).collect())
}

async fn refusal(place: &Place, object: Value) -> anyhow::Result<String> {
    match place.apply(object).await {
        Err(kube::Error::Api(status)) => Ok(status.message.clone()),
        Err(other) => Err(other.into()),
        Ok(taken) => anyhow::bail!("was taken: {taken}"),
    }
}

#[tokio::test]
#[ignore = "builds kube-apiserver: cargo xtask e2e"]
async fn apiserver_refuses_what_validate_refuses() -> anyhow::Result<()> {
    let place = Place::start(&Settings::default()).await?;
    let replica = Replica::start(&place, "one", 86_400).await?;
    // One that got in before there was a webhook is told so, and harms nobody.
    place.apply(wrong("early")).await?;
    let said = place
        .await_condition(&wrong("early"), "Accepted=False UnsupportedValue")
        .await?;
    assert!(said.contains("spec.timeout.perTry"), "{said}");
    assert!(replica.is_ready().await?);

    place.install_webhooks(&replica).await?;
    let faults = validated(&wrong("late")).await?;
    assert!(!faults.is_empty());
    let refused = refusal(&place, wrong("late")).await?;
    for fault in &faults {
        assert!(refused.contains(fault), "{refused:?} lacks {fault:?}");
    }
    assert!(refused.contains("spec.timeout.perTry"), "{refused}");
    place.apply(good("late")).await?;
    // Mended, the early one is accepted.
    place.apply(good("early")).await?;
    say(format!(
        "{} fault(s), the same text: {}",
        faults.len(),
        faults.join("; ")
    ));
    Ok(())
}

#[tokio::test]
#[ignore = "builds kube-apiserver: cargo xtask e2e"]
async fn apiserver_refuses_by_the_definitions_alone() -> anyhow::Result<()> {
    let place = Place::start(&Settings::default()).await?;
    let kind = |kind: &str, spec: &Value| {
        let mut object = policy("wrong", spec);
        object["kind"] = kind.into();
        object
    };
    let mut mesh = kind("Mesh", &json!({}));
    mesh["metadata"] = json!({"name": "second"});
    let mode = json!({"targetRefs": [{"kind": "Pod"}], "mode": "Sometimes"});
    let cases = [
        (mesh, "the Mesh is named default"),
        (kind("MutualTLSPolicy", &mode), "spec.mode"),
        (
            kind("TrafficPolicy", &json!({"targetRefs": 7})),
            "spec.targetRefs",
        ),
    ];
    for (object, wanted) in cases {
        let refused = refusal(&place, object.clone()).await?;
        assert!(refused.contains(wanted), "{object}: {refused}");
    }
    Ok(())
}

#[tokio::test]
#[ignore = "builds kube-apiserver: cargo xtask e2e"]
async fn apiserver_trusts_webhooks_whose_certificates_rotate() -> anyhow::Result<()> {
    const LIFE: u32 = 12;
    let place = Place::start(&Settings::default()).await?;
    let replica = Replica::start(&place, "one", LIFE).await?;
    place.install_webhooks(&replica).await?;
    // Past the end of the first certificate, asked all the time.
    let begun = std::time::Instant::now();
    let mut asked = 0;
    while begun.elapsed() < Duration::from_secs(u64::from(LIFE) * 2) {
        let refused = refusal(&place, wrong("rotates")).await?;
        assert!(refused.contains("spec.timeout.perTry"), "{refused}");
        asked += 1;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    say(format!(
        "{asked} of {asked} reviews answered over two lives of {LIFE} s"
    ));
    // A second root is trusted: the webhooks' roots follow.
    let before = place.bundles().await?;
    let other = rcgen::generate_simple_self_signed(["root".to_owned()])?;
    let roots = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "mesh-ca-roots", "namespace": "mesh-system"},
    });
    let held = place.read(&roots).await?;
    let held = held["data"]["roots.pem"].as_str().unwrap_or_default();
    let mut both = roots.clone();
    both["data"] = json!({"roots.pem": format!("{held}{}", other.cert.pem())});
    place.apply(both).await?;
    let follow = || async {
        let now = place.bundles().await?;
        Ok(now
            .iter()
            .zip(&before)
            .all(|(now, before)| now.len() > before.len()))
    };
    wait_until("the webhooks trust both roots", SOON, follow).await?;
    let refused = refusal(&place, wrong("after")).await?;
    assert!(refused.contains("spec.timeout.perTry"), "{refused}");
    Ok(())
}
