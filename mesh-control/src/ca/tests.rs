use std::time::UNIX_EPOCH;

use super::*;

fn identity(account: &str) -> Identity {
    format!("spiffe://cluster.local/ns/demo/sa/{account}")
        .parse()
        .unwrap()
}

fn request(key: &KeyPair, names: &[&str]) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.subject_alt_names = names
        .iter()
        .map(|name| SanType::URI((*name).try_into().unwrap()))
        .collect();
    params.serialize_request(key).unwrap().der().to_vec()
}

fn open(state: &Path) -> Authority {
    Authority::open(state, Duration::from_hours(24), SystemTime::now()).unwrap()
}

#[test]
fn leaves_verify_and_say_who_they_are() {
    let state = tempfile::tempdir().unwrap();
    let authority = open(state.path());
    let key = KeyPair::generate().unwrap();
    let shop = identity("shop");
    let issued = authority
        .issue(
            &request(&key, &[&shop.to_string()]),
            &shop,
            SystemTime::now(),
        )
        .unwrap();

    let mut roots = rustls::RootCertStore::empty();
    authority
        .roots()
        .iter()
        .for_each(|root| roots.add(root.clone()).unwrap());
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
        Arc::new(roots),
        Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
    )
    .build()
    .unwrap();
    let verified = |at| verifier.verify_client_cert(&issued.chain[0], &issued.chain[1..], at);
    assert!(verified(rustls_pki_types::UnixTime::now()).is_ok());
    let tomorrow = rustls_pki_types::UnixTime::since_unix_epoch(
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(86_500),
    );
    assert!(verified(tomorrow).is_err(), "a leaf ends after a day");

    let (_, leaf) = x509_parser::parse_x509_certificate(&issued.chain[0]).unwrap();
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    assert_eq!(names.value.general_names.len(), 1);
    assert_eq!(
        names.value.general_names[0].to_string(),
        format!("URI({shop})")
    );
    let usage = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && usage.server_auth && !leaf.is_ca());
    let begins = leaf.validity().not_before.timestamp();
    assert!(begins < jiff::Timestamp::now().as_second() - 110);
}

#[test]
fn requests_are_checked() {
    let state = tempfile::tempdir().unwrap();
    let authority = open(state.path());
    let key = KeyPair::generate().unwrap();
    let ask = |bytes: &[u8]| authority.issue(bytes, &identity("shop"), SystemTime::now());

    assert!(ask(&request(&key, &[])).is_ok(), "no name: the granted one");
    let other = identity("stock").to_string();
    assert!(matches!(
        ask(&request(&key, &[&other])).unwrap_err(),
        Refused::Identity { asked, .. } if asked == other
    ));
    let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    assert_eq!(ask(&request(&p384, &[])).unwrap_err(), Refused::KeyType);
    let mut broken = request(&key, &[]);
    *broken.last_mut().unwrap() ^= 1;
    for bad in [broken.as_slice(), b"", b"noise", &[0x30; 9000]] {
        assert!(matches!(ask(bad).unwrap_err(), Refused::Malformed(_)));
    }
}

#[test]
fn signing_is_limited() {
    let now = SystemTime::now();
    let mut rate = Rate::full(now);
    let taken = (0..1000).filter(|_| rate.take(now)).count();
    assert_eq!(taken, 500);
    assert!(rate.take(now + Duration::from_secs(1)));
}

#[test]
fn the_root_key_may_be_away() {
    use std::os::unix::fs::PermissionsExt;
    let state = tempfile::tempdir().unwrap();
    let hash = open(state.path()).root_hash();
    for key in ["root/root.key", "ca/intermediate.key"] {
        let mode = std::fs::metadata(state.path().join(key)).unwrap();
        assert_eq!(mode.permissions().mode() & 0o777, 0o600, "{key}");
    }
    std::fs::remove_dir_all(state.path().join("root")).unwrap();
    assert_eq!(open(state.path()).root_hash(), hash);
    // A first start that was cut short is taken up.
    let other = tempfile::tempdir().unwrap();
    open(other.path());
    for file in ["ca/root.pem", "ca/intermediate.pem"] {
        std::fs::remove_file(other.path().join(file)).unwrap();
    }
    assert_eq!(open(other.path()).roots().len(), 1);
    // An intermediate is used to its end, and no leaf outlives it.
    let late = SystemTime::now() + Duration::from_hours(365 * 24 - 2);
    let authority = Authority::open(state.path(), Duration::from_hours(24), late).unwrap();
    let key = KeyPair::generate().unwrap();
    let issued = authority.issue(&request(&key, &[]), &identity("shop"), late);
    let left = remaining(&issued.unwrap().chain[0], late);
    assert!(left <= Duration::from_hours(2) && left > Duration::from_mins(119));
    let late = late + Duration::from_hours(3);
    let refused = authority.issue(&request(&key, &[]), &identity("shop"), late);
    assert!(matches!(refused, Err(Refused::Failed(_))));
    assert!(authority.server_config(&identity("shop"), late).is_err());
    let error = Authority::open(state.path(), Duration::from_mins(1), late).err();
    assert!(error.unwrap().to_string().contains("put it back"));
}

#[test]
fn roots_are_read_again() {
    let (state, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let authority = open(state.path());
    open(other.path());
    assert!(!authority.reload_roots().unwrap());
    std::fs::copy(
        other.path().join("ca/root.pem"),
        state.path().join("roots/next.pem"),
    )
    .unwrap();
    assert!(authority.reload_roots().unwrap());
    assert_eq!(authority.roots().len(), 2);
    std::fs::write(state.path().join("roots/bad.pem"), "-----BEGIN x").unwrap();
    std::fs::remove_file(state.path().join("roots/next.pem")).unwrap();
    std::fs::remove_file(state.path().join("roots/root.pem")).unwrap();
    assert!(authority.reload_roots().is_err());
    assert_eq!(authority.roots().len(), 2, "what was trusted stays");
}

#[test]
fn tokens_are_checked_and_spent_once() {
    use super::token::{Refused, Tokens};
    use mesh_api::token::Claims;
    let state = tempfile::tempdir().unwrap();
    let tokens = Tokens::open(state.path()).unwrap();
    let claims = Claims {
        id: token::new_id().unwrap(),
        control: "127.0.0.1:15012".into(),
        root: String::new(),
        namespace: "demo".parse().unwrap(),
        service_account: "shop".parse().unwrap(),
        services: vec!["shop".parse().unwrap()],
        not_after: 1000,
        one_use: true,
    };
    let text = tokens.mint(claims.clone()).unwrap().to_string();
    assert_eq!(tokens.check(&text, 999).unwrap(), claims);
    assert!(matches!(tokens.check(&text, 1000), Err(Refused::Expired)));
    let elsewhere = tempfile::tempdir().unwrap();
    let foreign = Tokens::open(elsewhere.path()).unwrap();
    assert!(matches!(foreign.check(&text, 0), Err(Refused::Forged)));
    assert!(matches!(tokens.check("x", 0), Err(Refused::Malformed(_))));

    tokens.spend(&claims, 999).unwrap();
    assert!(matches!(tokens.spend(&claims, 999), Err(Refused::Used)));
    let again = Tokens::open(state.path()).unwrap();
    assert!(matches!(again.check(&text, 999), Err(Refused::Used)));
    assert_eq!(again.granted(&identity("shop")), claims.services);
    assert!(again.granted(&identity("stock")).is_empty());
}
