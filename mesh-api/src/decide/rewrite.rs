//! New targets: URL rewrites and the Location of redirects (Gateway API `HTTPURLRewriteFilter`,
//! `HTTPRequestRedirectFilter`). The query always stays.

use crate::decide::{Request, target};
use crate::model::path::PathMatch;
use crate::model::route::{PathRewrite, Redirect};
use crate::snapshot::MatchTable;

/// The target that replaces the request's; `None` if it stays as it is.
///
/// `*` has no path to replace and stays.
pub fn target(rewrite: &PathRewrite, table: &MatchTable, request: &Request<'_>) -> Option<String> {
    if request.path == "*" {
        return None;
    }
    let path = path(rewrite, table, request.path);
    (path != request.path).then(|| with_query(path, request.query))
}

/// The Location of a redirect: absolute, or a path alone for a request without a Host.
///
/// The port is the redirect's own; without one, that of its scheme, if it names one; else the port
/// the client dialled. 80 for `http` and 443 for `https` are left out.
pub fn location(redirect: &Redirect, table: &MatchTable, request: &Request<'_>) -> String {
    let path = match &redirect.path {
        Some(rewrite) if request.path != "*" => path(rewrite, table, request.path),
        _ if request.path == "*" => "/".to_owned(),
        _ => request.path.to_owned(),
    };
    let tail = with_query(path, request.query);
    let scheme = redirect.scheme.as_deref().unwrap_or(request.scheme);
    let host = match &redirect.hostname {
        Some(hostname) => hostname.as_str(),
        None => target::host(request.authority),
    };
    if host.is_empty() {
        return tail;
    }
    let well_known = if scheme == "https" { 443 } else { 80 };
    let port = match (redirect.port, &redirect.scheme) {
        (Some(port), _) => port.number(),
        (None, Some(_)) => well_known,
        (None, None) => request.port,
    };
    if port == well_known {
        format!("{scheme}://{host}{tail}")
    } else {
        format!("{scheme}://{host}:{port}{tail}")
    }
}

fn path(rewrite: &PathRewrite, table: &MatchTable, path: &str) -> String {
    match rewrite {
        PathRewrite::Full(full) if full.is_empty() => "/".to_owned(),
        PathRewrite::Full(full) => full.clone(),
        PathRewrite::Prefix(replacement) => match table.conditions().map(|c| &c.path) {
            Some(PathMatch::Prefix(prefix)) => replace_prefix(path, prefix, replacement),
            // The wire refuses prefix replacement for other kinds of match.
            _ => path.to_owned(),
        },
    }
}

/// The table of Gateway API `HTTPPathModifier.replacePrefixMatch`; `prefix` has no trailing `/`.
fn replace_prefix(path: &str, prefix: &str, replacement: &str) -> String {
    let rest = path.strip_prefix(prefix).unwrap_or(path);
    let base = replacement.strip_suffix('/').unwrap_or(replacement);
    let has_slash = if base.is_empty() { rest } else { base }.starts_with('/');
    let slash = if has_slash { "" } else { "/" };
    [slash, base, rest].concat()
}

fn with_query(path: String, query: Option<&str>) -> String {
    match query {
        Some(query) => [&path, "?", query].concat(),
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_replaced_as_the_table_says() {
        for (path, prefix, replacement, expected) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "", "/bar"),
            ("/foo/", "/foo", "", "/"),
            ("/foo", "/foo", "", "/"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
            ("/a", "", "/xyz", "/xyz/a"),
            ("/", "", "/", "/"),
        ] {
            assert_eq!(
                replace_prefix(path, prefix, replacement),
                expected,
                "{path} {prefix}"
            );
        }
    }
}
