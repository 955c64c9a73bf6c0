//! What a command line asks about: `[METHOD] URL`, header fields, a server name.

use anyhow::{Context, bail, ensure};
use mesh_api::decide::target;

use super::{Asked, AskedConnection, Subject};

/// Reads `[METHOD] URL`, fields as `name: value` and the server name of a TLS client.
pub(super) fn parse(
    words: &[String],
    headers: &[String],
    sni: Option<&str>,
) -> anyhow::Result<Subject> {
    let (method, url) = match words {
        [url] => (None, url),
        [method, url] => (Some(method.as_str()), url),
        _ => bail!("a request is [METHOD] URL"),
    };
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let split = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(split).unwrap_or((rest, ""));
    ensure!(!authority.is_empty(), "{url} names no host");
    let host = target::host(authority);
    let port = match authority
        .strip_prefix(host)
        .and_then(|rest| rest.strip_prefix(':'))
    {
        Some(port) => Some(
            port.parse()
                .with_context(|| format!("port of {authority}"))?,
        ),
        None => None,
    };
    ensure!(
        sni.is_none() || scheme == "tls",
        "--sni is for a tls:// URL"
    );
    let asked = |method: &str, headers| Asked {
        method: method.to_owned(),
        authority: authority.to_owned(),
        port: port.unwrap_or(80),
        target: match path.chars().next() {
            Some('/') => path.to_owned(),
            _ => format!("/{path}"),
        },
        headers,
    };
    match scheme {
        "http" => Ok(Subject::Request(asked(
            method.unwrap_or("GET"),
            fields(headers)?,
        ))),
        "grpc" => {
            ensure!(method.is_none(), "a gRPC call has no METHOD before its URL");
            let mut fields = fields(headers)?;
            fields.insert(
                0,
                ("content-type".to_owned(), "application/grpc".to_owned()),
            );
            Ok(Subject::Request(asked("POST", fields)))
        }
        "tcp" | "tls" => {
            ensure!(
                method.is_none() && headers.is_empty() && path.is_empty(),
                "a connection is {scheme}://HOST:PORT, without method, path or headers"
            );
            Ok(Subject::Connection(AskedConnection {
                authority: authority.to_owned(),
                port: port.with_context(|| format!("{url} names no port"))?,
                server_name: (scheme == "tls").then(|| sni.unwrap_or(host).to_owned()),
            }))
        }
        "https" => bail!(
            "{url}: what is inside TLS passes unread; ask for the connection: tls://{host}:{}",
            port.unwrap_or(443)
        ),
        other => bail!("{url}: {other}:// is not http://, grpc://, tcp:// or tls://"),
    }
}

fn fields(headers: &[String]) -> anyhow::Result<Vec<(String, String)>> {
    let field = |text: &String| {
        let (name, value) = text
            .split_once(':')
            .with_context(|| format!("{text:?} is no `name: value`"))?;
        Ok((name.trim().to_owned(), value.trim().to_owned()))
    };
    headers.iter().map(field).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, headers: &[String], sni: Option<&str>) -> anyhow::Result<Subject> {
        let words: Vec<_> = text.split(' ').map(str::to_owned).collect();
        parse(&words, headers, sni)
    }

    fn request(text: &str, headers: &[String]) -> Asked {
        match read(text, headers, None).unwrap() {
            Subject::Request(asked) => asked,
            other @ Subject::Connection(_) => unreachable!("{other:?}"),
        }
    }

    #[test]
    fn requests_read_as_written() {
        let asked = request("PUT http://catalog.demo:8080/items?x=1", &["K: v".into()]);
        assert_eq!((asked.method.as_str(), asked.port), ("PUT", 8080));
        assert_eq!(
            (asked.authority.as_str(), asked.target.as_str()),
            ("catalog.demo:8080", "/items?x=1")
        );
        assert_eq!(asked.headers, [("K".to_owned(), "v".to_owned())]);
        assert_eq!(request("catalog?y", &[]).target, "/?y");
        let call = request(
            "grpc://pricing.demo:50051/pkg.Service/Method",
            &["a: b".into()],
        );
        assert_eq!(
            (call.method.as_str(), call.port, call.target.as_str()),
            ("POST", 50051, "/pkg.Service/Method")
        );
        assert_eq!(call.headers[0].1, "application/grpc");
        assert_eq!(call.headers.len(), 2);
    }

    #[test]
    fn connections_read_as_written() {
        for (url, sni, server_name) in [
            ("tcp://ledger.demo:7000", None, None),
            ("tls://ledger.demo:7000", None, Some("ledger.demo")),
            ("tls://ledger.demo:7000", Some("a.b"), Some("a.b")),
        ] {
            let Subject::Connection(asked) = read(url, &[], sni).unwrap() else {
                unreachable!()
            };
            assert_eq!(
                (asked.port, asked.authority.as_str()),
                (7000, "ledger.demo:7000")
            );
            assert_eq!(asked.server_name.as_deref(), server_name);
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (text, sni) in [
            ("https://a/", None),
            ("http:///x", None),
            ("a:99999/", None),
            ("ftp://a:1", None),
            ("tcp://a", None),
            ("tcp://a:1/x", None),
            ("GET tcp://a:1", None),
            ("GET grpc://a:1/s/m", None),
            ("tcp://a:1", Some("a.b")),
        ] {
            assert!(read(text, &[], sni).is_err(), "{text}");
        }
        assert!(read("a", &["novalue".into()], None).is_err());
    }
}
