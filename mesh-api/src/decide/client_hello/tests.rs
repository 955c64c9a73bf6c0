//! Hellos of a real client, cut and split in every way, and hostile ones.

use proptest::collection::vec;
use proptest::prelude::*;
use rustls::crypto::aws_lc_rs;

use super::*;

/// The first bytes of a rustls client, with a post-quantum key share.
fn real(host: &str, alpn: &[&str]) -> Vec<u8> {
    let provider = std::sync::Arc::new(aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = host.to_owned().try_into().unwrap();
    let mut client = rustls::ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

/// A handshake message in records of at most `size` bytes.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    let record = |part: &[u8]| {
        let [high, low] = u16::try_from(part.len()).unwrap().to_be_bytes();
        [&[HANDSHAKE, 3, 1, high, low], part].concat()
    };
    message.chunks(size).flat_map(record).collect()
}

/// A length in `width` bytes, then the content.
fn sized(width: usize, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    [&length[8 - width..], content].concat()
}

/// A ClientHello with these extensions (type and content).
fn made(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let each = extensions
        .iter()
        .flat_map(|(kind, content)| [&kind.to_be_bytes()[..], &sized(2, content)].concat());
    let body = [
        &[3, 3][..],
        &[7; 32],
        &sized(1, &[]),
        &sized(2, &[0x13, 1]),
        &sized(1, &[0]),
        &sized(2, &each.collect::<Vec<_>>()),
    ];
    [&[HELLO][..], &sized(3, &body.concat())].concat()
}

fn names(names: &[(u8, &[u8])]) -> (u16, Vec<u8>) {
    let each = names
        .iter()
        .flat_map(|(kind, name)| [&[*kind][..], &sized(2, name)].concat());
    (SERVER_NAME, sized(2, &each.collect::<Vec<_>>()))
}

fn name_of(bytes: &[u8]) -> Option<String> {
    match read(bytes) {
        Reading::Hello(hello) => hello.server_name,
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn a_real_hello_is_read_at_any_cut_and_split() {
    let bytes = real("Ledger.Demo", &["h2", "http/1.1"]);
    assert!(bytes.len() > 1400, "with ML-KEM: {}", bytes.len());
    let expected = Reading::Hello(Hello {
        server_name: Some("ledger.demo".into()),
        alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
    });
    for size in [1, 3, 4, 5, 100, 1000, bytes.len()] {
        let split = records(&bytes[5..], size);
        if split.len() > MAX_BYTES {
            continue;
        }
        for end in 0..split.len() {
            assert_eq!(read(&split[..end]), Reading::NeedMore, "{size} {end}");
        }
        assert_eq!(read(&split), expected, "{size}");
        // A client with a ticket sends early data at once.
        let early = [&split[..], &[20, 3, 3, 0, 1, 1, 23, 3, 3, 9]].concat();
        assert_eq!(read(&early), expected, "{size}");
    }
    assert_eq!(name_of(&real("10.1.2.3", &[])), None);
}

#[test]
fn other_protocols_are_not_tls() {
    for bytes in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x00\x00\x00\x08\x04\xd2\x16\x2f", // PostgreSQL's SSLRequest
        b"\x16\x00\x00\x00",                 // a length that starts with 22
        b"\x16\x03\x01\x00\x2a\x02\x00\x00\x26", // a ServerHello
        b"\x80\x2e\x01\x03\x01",             // an SSL 2 hello
        b"\x15\x03\x01\x00\x02\x02\x28",     // an alert
        b"*1\r\n$4\r\nPING\r\n",
    ] {
        assert_eq!(read(bytes), Reading::NotTls, "{bytes:?}");
    }
    assert_eq!(read(b""), Reading::NeedMore);
}

#[test]
fn hostile_hellos_are_refused() {
    let host = |name: &[u8]| made(&[names(&[(HOST_NAME, name)])]);
    let whole = |message: &[u8]| records(message, 16_384);
    let mut beyond = host(b"a.b");
    let last = beyond.len() - 10;
    beyond[last] = 0xff;
    let long = [&[HELLO, 0, 0x40, 1][..], &[0; 9]].concat();
    let filler = made(&[(21, vec![0; 16_300]), names(&[(HOST_NAME, b"a.b")])]);
    for (bytes, reason) in [
        (whole(&host(b"a\0b")), "no host name"),
        (whole(&host(b"")), "no host name"),
        (whole(&host(&[b'a'; 256])), "no host name"),
        (whole(&host("é.b".as_bytes())), "no host name"),
        (
            whole(&made(&[names(&[(0, b"a"), (0, b"b")])])),
            "server name list",
        ),
        (whole(&made(&[names(&[])])), "server name list"),
        (
            whole(&made(&[names(&[(0, b"a")]), names(&[(0, b"b")])])),
            "twice",
        ),
        (whole(&made(&[(ALPN, sized(2, &[0]))])), "protocol list"),
        (whole(&made(&[(ALPN, sized(2, &[]))])), "protocol list"),
        (whole(&beyond), "beyond its end"),
        (whole(&long), "longer than 16 KiB"),
        (records(&filler, 1000), "longer than 16 KiB"),
        (vec![22, 3, 1, 0, 0], "empty or too long"),
        (vec![22, 3, 1, 0x40, 1], "empty or too long"),
        (
            [&records(&host(b"a.b")[..9], 9)[..], &[23, 3, 3, 0, 1, 0]].concat(),
            "another kind",
        ),
    ] {
        match read(&bytes) {
            Reading::Malformed(said) => assert!(said.contains(reason), "{said}, not {reason}"),
            other => unreachable!("{reason}: {other:?}"),
        }
    }
    assert_eq!(name_of(&whole(&host(b"A_b.C."))).as_deref(), Some("a_b.c"));
    assert_eq!(name_of(&whole(&made(&[names(&[(9, b"x")])]))), None);
    assert_eq!(name_of(&whole(&made(&[]))), None);
}

proptest! {
    #[test]
    fn any_bytes_are_told_apart(bytes in vec(any::<u8>(), 0..300)) {
        let tls = [&[HANDSHAKE, 3, 1][..], &bytes].concat();
        // A longer input never takes a verdict back.
        for bytes in [&bytes, &tls] {
            let mut last = Reading::NeedMore;
            for end in 0..=bytes.len() {
                let now = read(&bytes[..end]);
                prop_assert!(last == Reading::NeedMore || last == now, "{last:?} then {now:?}");
                last = now;
            }
        }
    }

    #[test]
    fn a_changed_hello_is_read_or_refused(
        at in any::<prop::sample::Index>(), byte: u8, size in 1usize..600, name in "[a-z]{1,20}\\.[a-z]{1,20}",
    ) {
        let mut message = made(&[(10, vec![0; 40]), names(&[(HOST_NAME, name.as_bytes())]), (43, vec![2, 3, 4])]);
        prop_assert_eq!(name_of(&records(&message, size)), Some(name));
        let place = at.index(message.len());
        message[place] = byte;
        let _ = read(&records(&message, size));
    }
}
