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

/// Files of manifests, none larger than may be: routes of `demo/app` by path, of which requests of
/// the bench take the last.
pub(crate) fn manifests() -> Result<Vec<String>, std::fmt::Error> {
    let mut files = Vec::new();
    for first in (0..BACKENDS).step_by(RULES as usize) {
        let all = first..BACKENDS.min(first + RULES);
        let mut text = format!("{}\n", route(&format!("grown-{first}")));
        for backend in all.clone() {
            writeln!(text, "{}", rule(&prefix(backend), &service(backend)))?;
        }
        for backend in all {
            write_backend(backend, &mut text)?;
        }
        files.push(text);
    }
    files.push(format!("{}\n{}\n", route("all"), rule("/", "app")));
    Ok(files)
}

/// What goes to the last backend, which nothing answers for; without its rule the app would.
pub(crate) fn nowhere() -> String {
    prefix(BACKENDS - 1)
}

fn prefix(backend: u32) -> String {
    format!("/1/{}", 1_000_000 + backend)
}

fn write_backend(backend: u32, text: &mut String) -> std::fmt::Result {
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
    Ok(())
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
        let files = manifests().unwrap();
        let text = files.concat();
        assert!(files.iter().all(|file| file.len() < 1 << 20));
        let count = |part: &str| text.matches(part).count();
        assert_eq!(count("kind: HTTPRoute"), 63 + 1);
        assert_eq!(count("type: PathPrefix"), 1000 + 1);
        assert_eq!(count("kind: Workload"), 10_000);
    }
}
