//! A running proxy, found by its workload's name. May use `admin`.

use anyhow::{Context, bail};
use mesh_api::name::{Namespace, ObjectName};
use mesh_api::resource::nearest;
use serde_json::Value;

use crate::source::admin::Admin;
use crate::source::cluster::pod::Wanted;

/// The workload that `text` means, among those whose proxy the control plane knows.
///
/// A bare name is looked for in `namespace`, or in all of them and must be the only one there;
/// `deploy/x`, `pod/x` and `x.namespace` are pods of a cluster.
///
/// # Errors
/// There is none, with the nearest names, or there are several.
pub(crate) async fn find(
    admin: &Admin,
    text: &str,
    namespace: Option<&Namespace>,
) -> anyhow::Result<ObjectName> {
    let proxies = admin.get("/proxies").await?;
    let rows = proxies.as_array().into_iter().flatten();
    // Of the pods of a Deployment one that answers: those that are gone are remembered for a while.
    let (away, there): (Vec<&Value>, Vec<&Value>) =
        rows.partition(|row| row["state"] == "DISCONNECTED");
    let known = there.into_iter().chain(away);
    let known: Vec<&str> = known.filter_map(|row| row["workload"].as_str()).collect();
    choose(&known, text, namespace)
}

/// Asks the proxy of `workload` for one page.
pub(crate) async fn page(
    admin: &Admin,
    workload: &ObjectName,
    page: &str,
) -> anyhow::Result<Value> {
    let target = format!("/proxy/{}/{}/{page}", workload.namespace, workload.name);
    admin.get(&target).await
}

fn choose(known: &[&str], text: &str, namespace: Option<&Namespace>) -> anyhow::Result<ObjectName> {
    let full = match (text.contains('/'), namespace) {
        (false, Some(namespace)) => format!("{namespace}/{text}"),
        _ => text.to_owned(),
    };
    if let Some(wanted) = Wanted::parse(text) {
        let is_meant = |name: &&str| {
            let (place, pod) = name.split_once('/').unwrap_or_default();
            let is_there = namespace.is_none_or(|namespace| namespace.as_str() == place);
            is_there && wanted.takes(place, pod)
        };
        // Of a Deployment any pod will do: all run the same.
        if let Some(one) = known.iter().copied().find(is_meant) {
            return one
                .parse()
                .with_context(|| format!("{one:?} is no workload"));
        }
    }
    let is_meant = |name: &&str| *name == full || (!full.contains('/') && bare(name) == full);
    let found: Vec<&str> = known.iter().copied().filter(is_meant).collect();
    match found.as_slice() {
        [one] => one
            .parse()
            .with_context(|| format!("{one:?} is no workload")),
        [] => bail!(
            "no proxy of a workload {full:?} is known; {}",
            hint(known, &full)
        ),
        several => bail!(
            "{text:?} is the name of several workloads: {}; say which, or its namespace with -n",
            several.join(", ")
        ),
    }
}

/// What the user may have meant, among the workloads known.
pub(crate) fn hint(known: &[&str], given: &str) -> String {
    let elsewhere = known.iter().copied().find(|name| bare(name) == bare(given));
    let bares: Vec<&str> = known.iter().map(|name| bare(name)).collect();
    let near = || {
        let near = nearest(bare(given), &bares)?;
        known.iter().copied().find(|name| bare(name) == near)
    };
    match elsewhere.or_else(near) {
        Some(name) => format!("did you mean {name}?"),
        None if known.is_empty() => "none has connected: start one with `meshctl run`".to_owned(),
        None => "`meshctl proxy-status` lists them".to_owned(),
    }
}

fn bare(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_is_found_by_any_unique_name_and_hints_are_near() {
        let known = ["demo/shop", "demo/catalog", "other/catalog"];
        let namespace: Namespace = "other".parse().unwrap();
        let found = |text: &str, namespace| {
            choose(&known, text, namespace).map_or_else(|e| e.to_string(), |name| name.to_string())
        };
        assert_eq!(found("shop", None), "demo/shop");
        assert_eq!(found("demo/catalog", Some(&namespace)), "demo/catalog");
        assert_eq!(found("catalog", Some(&namespace)), "other/catalog");
        assert!(found("catalog", None).contains("demo/catalog, other/catalog"));
        let pods = ["demo/shop-7c9f8d6b5-x2x4z", "demo/shop-7c9f8d6b5-x2x5z"];
        let any = choose(&pods, "deploy/shop.demo", None).unwrap();
        assert_eq!(any.to_string(), pods[0]);
        for (given, expected) in [
            ("default/shop", "did you mean demo/shop?"),
            ("shp", "did you mean demo/shop?"),
            ("zzzzzzz", "`meshctl proxy-status` lists them"),
        ] {
            assert!(found(given, None).ends_with(expected), "{given}");
        }
        let none = choose(&[], "a", None).unwrap_err().to_string();
        assert!(none.contains("meshctl run"), "{none}");
    }
}
