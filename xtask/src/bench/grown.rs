//! The configuration of a large mesh around the one Service that is measured. Pure.
//!
//! A caller of that Service receives all of it: each backend is in one of its routes.

use std::fmt::Write as _;

/// Backends, each with a rule of its own.
const BACKENDS: u32 = 1000;
/// Endpoints of each backend.
const ENDPOINTS: u32 = 10;
/// An HTTPRoute has no more rules.
const RULES: u32 = 16;

/// Routes of `demo/app` by path, of which requests of the bench take the last.
pub(crate) fn manifests() -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    for first in (0..BACKENDS).step_by(RULES as usize) {
        writeln!(text, "{}", route(&format!("grown-{first}")))?;
        for backend in first..BACKENDS.min(first + RULES) {
            writeln!(
                text,
                "{}",
                rule(&format!("/grown/{backend}"), &service(backend))
            )?;
        }
    }
    writeln!(text, "{}\n{}", route("all"), rule("/", "app"))?;
    for backend in 0..BACKENDS {
        let name = service(backend);
        writeln!(
            text,
            "---\napiVersion: v1\nkind: Service\nmetadata: {{ name: {name}, namespace: demo }}\n\
             spec: {{ selector: {{ app: {name} }}, ports: [{{ name: http, port: 80, appProtocol: http }}] }}"
        )?;
        for endpoint in 0..ENDPOINTS {
            let number = backend * ENDPOINTS + endpoint;
            writeln!(
                text,
                "---\napiVersion: mesh.dev/v1alpha1\nkind: Workload\n\
                 metadata: {{ name: {name}-{endpoint}, namespace: demo, labels: {{ app: {name} }} }}\n\
                 spec: {{ address: 127.78.{}.{}, ports: {{ http: 8000 }}, serviceAccount: app }}",
                number / 250,
                number % 250 + 1
            )?;
        }
    }
    Ok(text)
}

fn service(backend: u32) -> String {
    format!("backend-{backend}")
}

fn route(name: &str) -> String {
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n\
         metadata: {{ name: {name}, namespace: demo }}\nspec:\n  \
         parentRefs: [{{ group: \"\", kind: Service, name: app, port: 80 }}]\n  rules:"
    )
}

fn rule(prefix: &str, backend: &str) -> String {
    format!(
        "  - matches: [{{ path: {{ type: PathPrefix, value: {prefix} }} }}]\n    \
         backendRefs: [{{ name: {backend}, port: 80 }}]"
    )
}

#[cfg(test)]
mod tests {
    use super::manifests;

    #[test]
    fn it_is_as_large_as_it_says() {
        let text = manifests().unwrap();
        let count = |part: &str| text.matches(part).count();
        assert_eq!(count("kind: HTTPRoute"), 63 + 1);
        assert_eq!(count("type: PathPrefix"), 1000 + 1);
        assert_eq!(count("kind: Workload"), 10_000);
    }
}
