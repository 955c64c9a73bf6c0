//! Messages that must be refused and oddities that must pass, as data: read by the codec's own
//! tests and sent over sockets by the end-to-end tests.

/// What must become of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Its head is answered with this status and nothing goes on.
    RefuseHead(u16),
    /// Its head may go on; its content never ends there and the connection is not used again.
    RefuseBody,
    /// It goes on, whole, with content of so many bytes.
    Pass(usize),
}

/// One message.
#[derive(Clone, Debug)]
pub struct Case {
    /// What is special about it.
    pub name: &'static str,
    /// Its bytes, in full.
    pub bytes: Vec<u8>,
    /// What must become of it.
    pub expect: Expect,
}

/// Every request of the table.
pub fn requests() -> Vec<Case> {
    let short = REFUSED_HEADS
        .iter()
        .map(|(name, status, text)| case(name, text, Expect::RefuseHead(*status)));
    let bodies = REFUSED_BODIES
        .iter()
        .map(|(name, content)| case(name, &format!("{CHUNKED}{content}"), Expect::RefuseBody));
    let legal = LEGAL
        .iter()
        .map(|(name, len, text)| case(name, text, Expect::Pass(*len)));
    short
        .chain(bodies)
        .chain(legal)
        .chain(long_requests())
        .chain(long_contents())
        .chain(binary_requests())
        .collect()
}

/// Every response of the table, each to a GET.
pub fn responses() -> Vec<Case> {
    let refused = REFUSED_RESPONSES
        .iter()
        .map(|(name, text)| case(name, text, Expect::RefuseHead(502)));
    let bodies = REFUSED_RESPONSE_BODIES
        .iter()
        .map(|(name, text)| case(name, text, Expect::RefuseBody));
    let legal = LEGAL_RESPONSES
        .iter()
        .map(|(name, len, text)| case(name, text, Expect::Pass(*len)));
    refused.chain(bodies).chain(legal).collect()
}

fn case(name: &'static str, text: &str, expect: Expect) -> Case {
    Case {
        name,
        bytes: text.as_bytes().to_vec(),
        expect,
    }
}

/// Messages too long to write down.
fn long_requests() -> Vec<Case> {
    let get = |target: usize, fields: &str| {
        format!(
            "GET /{} HTTP/1.1\r\nHost: a\r\n{fields}\r\n",
            "t".repeat(target)
        )
    };
    vec![
        case(
            "target of 16 KiB and one",
            &get(16 * 1024, ""),
            Expect::RefuseHead(414),
        ),
        case("target of 16 KiB", &get(16 * 1024 - 1, ""), Expect::Pass(0)),
        case("101 fields", &get(0, &fields(100)), Expect::RefuseHead(431)),
        case("100 fields", &get(0, &fields(99)), Expect::Pass(0)),
        case(
            "value over 64 KiB",
            &get(0, &format!("x: {}\r\n", "v".repeat(65_536))),
            Expect::RefuseHead(431),
        ),
        case(
            "value of 60 KiB",
            &get(0, &format!("x: {}\r\n", "v".repeat(60_000))),
            Expect::Pass(0),
        ),
        case(
            "name over 64 KiB",
            &get(0, &format!("{}: v\r\n", "n".repeat(65_536))),
            Expect::RefuseHead(431),
        ),
        case(
            "Connection with 33 options",
            &get(0, &format!("Connection: {}\r\n", "a,".repeat(33))),
            Expect::RefuseHead(400),
        ),
        case(
            "method of 33 letters",
            &format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "M".repeat(33)),
            Expect::RefuseHead(400),
        ),
        case(
            "method without an end",
            &format!("{}\r\n\r\n", "M".repeat(70_000)),
            Expect::RefuseHead(400),
        ),
    ]
}

fn long_contents() -> Vec<Case> {
    let chunked = |content: String| format!("{CHUNKED}{content}");
    vec![
        case(
            "chunk extension over 256 bytes",
            &chunked(format!("1;{}\r\na\r\n0\r\n\r\n", "e".repeat(257))),
            Expect::RefuseBody,
        ),
        case(
            "chunk extensions over 16 KiB",
            &chunked(format!(
                "{}0\r\n\r\n",
                format!("1;{}\r\na\r\n", "e".repeat(200)).repeat(90)
            )),
            Expect::RefuseBody,
        ),
        case(
            "trailers over 16 KiB",
            &chunked(format!("0\r\nx: {}\r\n\r\n", "v".repeat(16_384))),
            Expect::RefuseBody,
        ),
        case(
            "65 trailers",
            &chunked(format!("0\r\n{}\r\n", fields(65))),
            Expect::RefuseBody,
        ),
        case(
            "chunks of one byte",
            &chunked(format!("{}0\r\n\r\n", "1\r\na\r\n".repeat(2_000))),
            Expect::Pass(2_000),
        ),
    ]
}

fn fields(count: usize) -> String {
    let lines: Vec<_> = (0..count).map(|n| format!("x-{n}: v\r\n")).collect();
    lines.concat()
}

fn binary_requests() -> Vec<Case> {
    let raw = |name, bytes: &[u8], expect| Case {
        name,
        bytes: bytes.to_vec(),
        expect,
    };
    vec![
        raw(
            "target with a byte over 127",
            b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
            Expect::RefuseHead(400),
        ),
        raw(
            "name with a byte over 127",
            b"GET / HTTP/1.1\r\nHost: a\r\n\xe9: v\r\n\r\n",
            Expect::RefuseHead(400),
        ),
        raw(
            "Host with a byte over 127",
            b"GET / HTTP/1.1\r\nHost: \xe9\r\n\r\n",
            Expect::RefuseHead(400),
        ),
        raw(
            "TLS ClientHello",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            Expect::RefuseHead(400),
        ),
        raw(
            "value with bytes over 127",
            b"GET / HTTP/1.1\r\nHost: a\r\nx: caf\xe9\r\n\r\n",
            Expect::Pass(0),
        ),
    ]
}

const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

#[rustfmt::skip]
const REFUSED_HEADS: &[(&str, u16, &str)] = &[
    ("request line ends with LF", 400, "GET / HTTP/1.1\nHost: a\r\n\r\n"),
    ("field ends with LF", 400, "GET / HTTP/1.1\r\nHost: a\n\r\n"),
    ("head ends with LF", 400, "GET / HTTP/1.1\r\nHost: a\r\n\n"),
    ("CR in a value", 400, "GET / HTTP/1.1\r\nHost: a\r\nx: a\rb\r\n\r\n"),
    ("CR in the target", 400, "GET /\r/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("CR before CRLF", 400, "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n"),
    ("NUL in a value", 400, "GET / HTTP/1.1\r\nHost: a\r\nx: a\0b\r\n\r\n"),
    ("NUL in the target", 400, "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("NUL in a name", 400, "GET / HTTP/1.1\r\nHost: a\r\nx\0: b\r\n\r\n"),
    ("two empty lines first", 400, "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("LF first", 400, "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("space first", 400, " GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("no method", 400, "/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("method with a bracket", 400, "G(T / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("method with a colon", 400, "GET: / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("two spaces before the target", 400, "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("two spaces before the version", 400, "GET /  HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("tab between the parts", 400, "GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n"),
    ("space in the target", 400, "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("space after the version", 400, "GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
    ("HTTP/0.9", 400, "GET /\r\n\r\n"),
    ("version in lower case", 400, "GET / http/1.1\r\nHost: a\r\n\r\n"),
    ("version with two digits", 400, "GET / HTTP/1.10\r\nHost: a\r\n\r\n"),
    ("version without minor", 400, "GET / HTTP/1\r\nHost: a\r\n\r\n"),
    ("version 1.2", 505, "GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
    ("version 3.0", 505, "GET / HTTP/3.0\r\nHost: a\r\n\r\n"),
    ("HTTP/2 preface", 505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("target without a slash", 400, "GET a HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("fragment", 400, "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("backslash in the target", 400, "GET /a\\b HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("DEL in the target", 400, "GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("asterisk of GET", 400, "GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("authority of GET", 400, "GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("CONNECT to a path", 400, "CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("CONNECT without port", 400, "CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("CONNECT with content", 400, "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nContent-Length: 1\r\n\r\nx"),
    ("CONNECT with another Host", 400, "CONNECT a:80 HTTP/1.1\r\nHost: b:80\r\n\r\n"),
    ("scheme ftp", 400, "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("user in the authority", 400, "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("absolute target without host", 400, "GET http:/// HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("absolute target and another Host", 400, "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("absolute target and another port", 400, "GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("no Host", 400, "GET / HTTP/1.1\r\n\r\n"),
    ("two Hosts", 400, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    ("two equal Hosts", 400, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    ("two Hosts in HTTP/1.0", 400, "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"),
    ("list of Hosts", 400, "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
    ("empty Host", 400, "GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    ("Host with a path", 400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    ("Host with a user", 400, "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"),
    ("Host with port 0", 400, "GET / HTTP/1.1\r\nHost: a:0\r\n\r\n"),
    ("Host with port 65536", 400, "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n"),
    ("Host with bad IPv6", 400, "GET / HTTP/1.1\r\nHost: [::g]\r\n\r\n"),
    ("folded value", 400, "GET / HTTP/1.1\r\nHost: a\r\nx: a\r\n b\r\n\r\n"),
    ("space before the first field", 400, "GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    ("space before the colon", 400, "GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
    ("tab before the colon", 400, "GET / HTTP/1.1\r\nHost: a\r\nx\t: a\r\n\r\n"),
    ("empty name", 400, "GET / HTTP/1.1\r\nHost: a\r\n: a\r\n\r\n"),
    ("field without colon", 400, "GET / HTTP/1.1\r\nHost: a\r\nx\r\n\r\n"),
    ("space in a name", 400, "GET / HTTP/1.1\r\nHost: a\r\nx y: a\r\n\r\n"),
    ("bracket in a name", 400, "GET / HTTP/1.1\r\nHost: a\r\nx(y): a\r\n\r\n"),
    ("control character in a value", 400, "GET / HTTP/1.1\r\nHost: a\r\nx: a\x0bb\r\n\r\n"),
    ("form feed at the end of a value", 400, "GET / HTTP/1.1\r\nHost: a\r\nx: a\x0c\r\n\r\n"),
    ("DEL in a value", 400, "GET / HTTP/1.1\r\nHost: a\r\nx: a\x7f\r\n\r\n"),
    ("length and chunked", 400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("chunked and length", 400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    ("two lengths", 400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
    ("two equal lengths", 400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na"),
    ("list of lengths", 400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\na"),
    ("length with a sign", 400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na"),
    ("negative length", 400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"),
    ("hexadecimal length", 400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\na"),
    ("empty length", 400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n"),
    ("length of 2^64 and 2", 400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551618\r\n\r\nab"),
    ("length with a space", 400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 1\r\n\r\na"),
    ("gzip, chunked", 400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("chunked, gzip", 400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
    ("chunked twice in a list", 400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    ("chunked twice", 400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("identity and chunked", 400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("xchunked", 400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("quoted chunked", 400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
    ("chunked with a parameter", 400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n"),
    ("empty Transfer-Encoding", 400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n"),
    ("chunked in HTTP/1.0", 400, "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("two Authorizations", 400, "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: x\r\nAuthorization: y\r\n\r\n"),
    ("Connection names Authorization", 400, "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: x\r\nConnection: authorization\r\n\r\n"),
    ("Connection names Content-Length", 400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nConnection: Content-Length\r\n\r\na"),
    ("Connection names an identity field", 400, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, x-forwarded-for\r\n\r\n"),
    ("another expectation", 417, "POST / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\nContent-Length: 1\r\n\r\na"),
];

#[rustfmt::skip]
const REFUSED_BODIES: &[(&str, &str)] = &[
    ("chunk size of no digits", "\r\n\r\n"),
    ("chunk size with 0x", "0x1\r\na\r\n0\r\n\r\n"),
    ("chunk size with a sign", "+1\r\na\r\n0\r\n\r\n"),
    ("negative chunk size", "-1\r\na\r\n0\r\n\r\n"),
    ("chunk size with space before", " 1\r\na\r\n0\r\n\r\n"),
    ("chunk size with space after", "1 \r\na\r\n0\r\n\r\n"),
    ("chunk size with an underscore", "1_0\r\naaaaaaaaaaaaaaaa\r\n0\r\n\r\n"),
    ("chunk size of 64 bits", "ffffffffffffffff\r\na\r\n0\r\n\r\n"),
    ("chunk size of 17 digits", "00000000000000001\r\na\r\n0\r\n\r\n"),
    ("chunk size ends with LF", "1\na\r\n0\r\n\r\n"),
    ("chunk size ends with CR", "1\ra\r\n0\r\n\r\n"),
    ("chunk extension ends with LF", "1;x\na\r\n0\r\n\r\n"),
    ("chunk extension holds CR", "1;x\ry\r\na\r\n0\r\n\r\n"),
    ("chunk extension holds NUL", "1;\0\r\na\r\n0\r\n\r\n"),
    ("chunk data is longer", "1\r\nab\r\n0\r\n\r\n"),
    ("chunk data ends with LF", "1\r\na\n0\r\n\r\n"),
    ("chunk data ends with CR", "1\r\na\r0\r\n\r\n"),
    ("trailer Content-Length", "0\r\nContent-Length: 1\r\n\r\n"),
    ("trailer Transfer-Encoding", "0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("trailer Host", "0\r\nHost: b\r\n\r\n"),
    ("trailer Authorization", "0\r\nAuthorization: x\r\n\r\n"),
    ("trailer without colon", "0\r\nx\r\n\r\n"),
    ("trailer with space before the colon", "0\r\nx : y\r\n\r\n"),
    ("folded trailer", "0\r\nx: a\r\n b\r\n\r\n"),
    ("trailer ends with LF", "0\r\nx: a\n\r\n"),
    ("trailers end with LF", "0\r\n\n"),
    ("request in place of trailers", "0\r\nGET / HTTP/1.1\r\n\r\n"),
];

#[rustfmt::skip]
const LEGAL: &[(&str, usize, &str)] = &[
    ("least request", 0, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("one empty line first", 0, "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("HTTP/1.0 without Host", 0, "GET / HTTP/1.0\r\n\r\n"),
    ("HTTP/1.0 keep-alive", 0, "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n"),
    ("no space after the colon", 0, "GET / HTTP/1.1\r\nHost:a\r\n\r\n"),
    ("space around a value", 0, "GET / HTTP/1.1\r\nHost: \t a \t\r\n\r\n"),
    ("empty value", 0, "GET / HTTP/1.1\r\nHost: a\r\nx:\r\n\r\n"),
    ("tab inside a value", 0, "GET / HTTP/1.1\r\nHost: a\r\nx: a\tb\r\n\r\n"),
    ("name of punctuation", 0, "GET / HTTP/1.1\r\nHost: a\r\n!#$%&'*+-.^_`|~: v\r\n\r\n"),
    ("unknown method", 0, "BREW / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("method of punctuation", 0, "M-SEARCH / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("absolute target", 0, "GET http://a/b?c HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("absolute target, default port, another case", 0, "GET HTTP://A:80 HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("OPTIONS of all", 0, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("CONNECT", 0, "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"),
    ("target with two slashes", 0, "GET //a//b HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("target with odd but visible characters", 0, "GET /a|b{c}?d[]=^ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("Host with IPv6 and port", 0, "GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n"),
    ("Host with a final dot", 0, "GET / HTTP/1.1\r\nHost: a.b.\r\n\r\n"),
    ("GET with content", 1, "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na"),
    ("length 0", 0, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"),
    ("length with zeros before", 1, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0001\r\n\r\na"),
    ("chunked in another case", 1, "POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: Chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"),
    ("chunk sizes in either case, zeros before", 26, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n00A\r\n0123456789\r\n010\r\n0123456789abcdef\r\n000\r\n\r\n"),
    ("chunk extension", 1, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;a=\"b c\";d\r\na\r\n0;e\r\n\r\n"),
    ("trailers", 1, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx-sum: 1\r\ny:2\r\n\r\n"),
    ("expectation", 1, "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\na"),
    ("Connection names a field", 0, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, x-hop,\r\nX-Hop: 1\r\n\r\n"),
    ("repeated fields", 0, "GET / HTTP/1.1\r\nHost: a\r\nAccept: b\r\nAccept: c\r\n\r\n"),
    ("h2c upgrade", 0, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"),
];

#[rustfmt::skip]
const REFUSED_RESPONSES: &[(&str, &str)] = &[
    ("status line ends with LF", "HTTP/1.1 200 OK\n\r\n"),
    ("empty line first", "\r\nHTTP/1.1 200 OK\r\n\r\n"),
    ("version 2.0", "HTTP/2.0 200 OK\r\n\r\n"),
    ("status of two digits", "HTTP/1.1 20 OK\r\n\r\n"),
    ("status of four digits", "HTTP/1.1 2000 OK\r\n\r\n"),
    ("status 099", "HTTP/1.1 099 OK\r\n\r\n"),
    ("status 600", "HTTP/1.1 600 OK\r\n\r\n"),
    ("two spaces before the status", "HTTP/1.1  200 OK\r\n\r\n"),
    ("not HTTP", "SSH-2.0-x\r\n\r\n"),
    ("length and chunked", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
    ("gzip, chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("chunked in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("folded value", "HTTP/1.1 200 OK\r\nx: a\r\n b\r\n\r\n"),
    ("204 with content", "HTTP/1.1 204 No Content\r\nContent-Length: 1\r\n\r\na"),
    ("100 with chunks", "HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("NUL in a value", "HTTP/1.1 200 OK\r\nx: \0\r\n\r\n"),
];

#[rustfmt::skip]
const REFUSED_RESPONSE_BODIES: &[(&str, &str)] = &[
    ("cut content", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"),
    ("cut chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"),
    ("no last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"),
    ("bad chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n"),
];

#[rustfmt::skip]
const LEGAL_RESPONSES: &[(&str, usize, &str)] = &[
    ("no reason", 0, "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n"),
    ("no space before no reason", 0, "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"),
    ("until close", 3, "HTTP/1.1 200 OK\r\n\r\nabc"),
    ("HTTP/1.0 until close", 3, "HTTP/1.0 200 OK\r\n\r\nabc"),
    ("204 with length 0", 0, "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"),
    ("304 with a length", 0, "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"),
    ("chunks", 3, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
];
