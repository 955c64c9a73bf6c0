//! What the receiving workloads would say of the caller, where an `AuthorizationPolicy` or a
//! `RateLimitPolicy` asks.
//!
//! Only of callers and receivers that the manifests have as workloads: who calls is known by no other
//! means offline.

use std::collections::BTreeMap;
use std::fmt;

use mesh_api::decide::authorise::{AuthorisationExplanation, explain};
use mesh_api::decide::explanation::{
    ConnectionExplanation, ConnectionResult, Endpoint, Explanation, Result,
};
use mesh_api::decide::ratelimit::LimitExplanation;
use mesh_api::name::ObjectName;
use mesh_api::translate::Catalog;
use serde::Serialize;

use crate::command::explain::{Asked, limits};

/// An explanation with what the receivers say.
#[derive(Serialize)]
pub(super) struct Received<T> {
    #[serde(flatten)]
    explanation: T,
    /// One for each receiving workload and port that a policy guards.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    authorisation: Vec<AuthorisationExplanation>,
    /// Limits of the receiving workloads that the request meets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    limits: Vec<LimitExplanation>,
}

/// What has endpoints.
pub(super) trait Reaches {
    /// Every endpoint that an outcome may choose.
    fn endpoints(&self) -> Vec<&Endpoint>;
}

impl Reaches for Explanation {
    fn endpoints(&self) -> Vec<&Endpoint> {
        let forwards = self.outcomes.iter().filter_map(|one| match &one.result {
            Result::Forward(forward) => Some(&forward.endpoints),
            Result::Redirect { .. } | Result::Answer { .. } | Result::Refuse { .. } => None,
        });
        forwards.flatten().collect()
    }
}

impl Reaches for ConnectionExplanation {
    fn endpoints(&self) -> Vec<&Endpoint> {
        let forwards = self.outcomes.iter().filter_map(|one| match &one.result {
            ConnectionResult::Forward { endpoints, .. } => Some(endpoints),
            ConnectionResult::Refuse { .. } => None,
        });
        forwards.flatten().collect()
    }
}

impl<T: Reaches> Received<T> {
    /// Asks the receivers of `explanation` about `from` and its request, if it is one.
    pub(super) fn of(
        explanation: T,
        catalog: &Catalog,
        from: &ObjectName,
        asked: Option<&Asked>,
    ) -> Self {
        let endpoints = explanation.endpoints();
        let authorisation = authorisations(catalog, from, &endpoints);
        let limits = limits::at(catalog, from, &endpoints, asked);
        Self {
            explanation,
            authorisation,
            limits,
        }
    }
}

impl<T: fmt::Display> fmt::Display for Received<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.explanation.fmt(f)?;
        if !self.authorisation.is_empty() {
            f.write_str("authorisation:\n")?;
        }
        for asked in &self.authorisation {
            let word = if asked.allowed { "Allow" } else { "Deny" };
            let AuthorisationExplanation {
                workload,
                port,
                reason,
                ..
            } = asked;
            writeln!(f, "  {word} at {workload}:{port}: {reason}")?;
            if let Some(audited) = &asked.audited {
                writeln!(f, "    if all were enforced: {audited}")?;
            }
        }
        if !self.limits.is_empty() {
            f.write_str("rate limits:\n")?;
        }
        for limit in &self.limits {
            writeln!(f, "  {limit}")?;
        }
        Ok(())
    }
}

fn authorisations(
    catalog: &Catalog,
    from: &ObjectName,
    endpoints: &[&Endpoint],
) -> Vec<AuthorisationExplanation> {
    let Some(caller) = catalog.workload(from) else {
        return Vec::new();
    };
    let identity = caller.identity(&catalog.mesh().trust_domain);
    // One outside the mesh comes in the clear.
    let peer = caller.tunnel_port.map(|_| &identity);
    let mut asked = BTreeMap::new();
    for endpoint in endpoints {
        if let Some((inbound, port)) = limits::receiver(catalog, endpoint)
            && !inbound.authorizations.is_empty()
        {
            let place = (inbound.workload.clone(), port);
            asked
                .entry(place)
                .or_insert_with(|| explain(&inbound, port, peer));
        }
    }
    asked.into_values().collect()
}

#[cfg(test)]
mod tests {
    use mesh_api::manifest;

    use super::*;
    use crate::command::explain::{Asked, caller, offline};

    const MANIFESTS: &str = "apiVersion: v1
kind: Service
metadata: { name: hello, namespace: demo }
spec: { selector: { app: hello }, ports: [{ name: http, port: 80 }] }
---
apiVersion: mesh.dev/v1alpha1
kind: Workload
metadata: { name: hello-0, namespace: demo, labels: { app: hello } }
spec: { address: 127.0.0.2, serviceAccount: hello, ports: { http: 8080 } }
---
apiVersion: mesh.dev/v1alpha1
kind: Workload
metadata: { name: shop-0, namespace: demo }
spec: { address: 127.0.0.3, serviceAccount: shop }
---
apiVersion: mesh.dev/v1alpha1
kind: Workload
metadata: { name: stranger-0, namespace: demo }
spec: { address: 127.0.0.4, serviceAccount: stranger }
---
apiVersion: mesh.dev/v1alpha1
kind: AuthorizationPolicy
metadata: { name: callers, namespace: demo }
spec:
  selector: { matchLabels: { app: hello } }
  rules: [{ from: [{ identities: ['spiffe://cluster.local/ns/demo/sa/shop'] }] }]
";

    fn said(from: &str) -> Option<String> {
        let mut catalog = Catalog::default();
        let read = manifest::read("m.yaml", MANIFESTS);
        assert_eq!(read.faults, []);
        for located in read.resources {
            let verdict = catalog.apply(located.resource);
            assert_eq!(verdict.faults, []);
        }
        let from: ObjectName = from.parse().unwrap();
        let words = ["http://hello/".to_owned()];
        let asked = Asked::parse(&words, &[]).unwrap();
        let explanation = offline(&catalog, caller(&catalog, &from), &asked).unwrap();
        let text = Received::of(explanation, &catalog, &from, Some(&asked)).to_string();
        let (_, authorisation) = text.split_once("authorisation:\n")?;
        Some(authorisation.trim().to_owned())
    }

    #[test]
    fn a_guarded_receiver_says_who_may_call_and_by_which_rule() {
        assert_eq!(
            said("demo/shop-0").unwrap(),
            "Allow at demo/hello-0:8080: allowed by AuthorizationPolicy demo/callers spec.rules[0]"
        );
        assert_eq!(
            said("demo/stranger-0").unwrap(),
            "Deny at demo/hello-0:8080: no rule of an Allow takes it in, such as AuthorizationPolicy demo/callers"
        );
        assert_eq!(said("demo/nobody"), None, "who calls is not known");
    }

    #[test]
    fn a_receiver_says_which_limits_a_request_meets() {
        let limits = "---
apiVersion: mesh.dev/v1alpha1
kind: RateLimitPolicy
metadata: { name: few, namespace: demo }
spec:
  targetRefs: [{ kind: Service, name: hello }]
  limits:
  - { name: all, requests: 5, per: 1s, by: [{ identity: {} }, { header: X-Tenant }] }
  - { name: dear, requests: 1, per: 1m, burst: 2, match: [{ path: { value: /dear } }] }
  connections: { perSecond: 10 }
";
        let read = manifest::read("m.yaml", &format!("{MANIFESTS}{limits}"));
        let mut catalog = Catalog::default();
        for located in read.resources {
            assert_eq!(catalog.apply(located.resource).faults, []);
        }
        let from: ObjectName = "demo/shop-0".parse().unwrap();
        let told = |url: &str| {
            let asked = Asked::parse(&[url.to_owned()], &[]).unwrap();
            let explanation = offline(&catalog, caller(&catalog, &from), &asked).unwrap();
            let text = Received::of(explanation, &catalog, &from, Some(&asked)).to_string();
            text.split_once("rate limits:\n").unwrap().1.to_owned()
        };
        let both = "  at demo/hello-0:8080: connections: 10 per 1s, 10 at once (RateLimitPolicy demo/few spec.connections)
  at demo/hello-0:8080: all: 5 per 1s, 5 at once, by identity and header x-tenant (RateLimitPolicy demo/few spec.limits[0])
";
        assert_eq!(told("http://hello/"), both);
        let dear = "  at demo/hello-0:8080: dear: 1 per 60s, 2 at once (RateLimitPolicy demo/few spec.limits[1])\n";
        assert_eq!(told("http://hello/dear"), format!("{both}{dear}"));
    }
}
