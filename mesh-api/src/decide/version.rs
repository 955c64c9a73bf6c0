//! Which version of HTTP an endpoint is spoken to in.
//!
//! Between proxies the client's version is kept, so that nothing is lost on the way; the last proxy
//! before the app translates if the app declares another.

use crate::model::backend::Transport;
use crate::model::destination::Protocol;

/// A version of HTTP, as far as translation cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/1.1, and 1.0 where a client still has it.
    Http1,
    /// HTTP/2.
    Http2,
}

/// The version to speak to an endpoint reached by `transport`, whose port declares `protocol`, with
/// a request that came in `received`.
pub fn upstream(transport: &Transport, protocol: Protocol, received: HttpVersion) -> HttpVersion {
    match transport {
        Transport::Hbone { .. } => received,
        Transport::Plain => app(protocol, received),
    }
}

/// The version to speak to an app whose port declares `protocol`.
pub fn app(protocol: Protocol, received: HttpVersion) -> HttpVersion {
    match protocol {
        Protocol::Http => HttpVersion::Http1,
        Protocol::Http2 | Protocol::Grpc => HttpVersion::Http2,
        Protocol::Detect | Protocol::Tls | Protocol::Tcp => received,
    }
}

#[cfg(test)]
mod tests {
    use super::HttpVersion::{Http1, Http2};
    use super::*;

    #[test]
    fn an_app_gets_what_it_declares_and_a_peer_what_came() {
        let tunnel = Transport::Hbone {
            identity: "spiffe://mesh.test/ns/demo/sa/shop".parse().unwrap(),
            port: "15008".parse().unwrap(),
        };
        let cases = [
            (&tunnel, Protocol::Http, Http2, Http2),
            (&tunnel, Protocol::Grpc, Http1, Http1),
            (&Transport::Plain, Protocol::Http, Http2, Http1),
            (&Transport::Plain, Protocol::Http2, Http1, Http2),
            (&Transport::Plain, Protocol::Grpc, Http2, Http2),
            (&Transport::Plain, Protocol::Detect, Http2, Http2),
            (&Transport::Plain, Protocol::Detect, Http1, Http1),
        ];
        for (transport, protocol, received, expected) in cases {
            let got = upstream(transport, protocol, received);
            assert_eq!(got, expected, "{transport:?} {protocol:?} {received:?}");
        }
    }
}
