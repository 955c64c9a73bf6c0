use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use rustls::client::danger::ServerCertVerifier;
use x509_parser::prelude::FromDer;

use super::fixture::{Authority, identity};
use super::*;

#[test]
fn requests_carry_the_identity_and_no_common_name() {
    let shop = identity("demo", "shop");
    let (_, der) = request(&shop).unwrap();
    let (_, parsed) =
        x509_parser::certification_request::X509CertificationRequest::from_der(&der).unwrap();
    parsed.verify_signature().unwrap();
    assert_eq!(parsed.certification_request_info.subject.iter().count(), 0);
    assert!(
        der.windows(shop.to_string().len())
            .any(|w| w == shop.to_string().as_bytes())
    );
}

#[test]
fn credentials_refuse_what_does_not_fit() {
    let (own, other) = (Authority::new(), Authority::new());
    let name = identity("demo", "shop").to_string();
    let (leaf, key) = own.leaf(&[&name]);
    let (_, other_key) = own.leaf(&[&name]);
    let (unnamed, unnamed_key) = own.leaf(&["https://shop.test"]);
    let make = |leaf: &[u8], root: Vec<u8>, key: &Key| {
        Credentials::new(vec![leaf.to_vec()], vec![root], key.clone())
    };
    assert!(make(&leaf, own.root(), &key).is_ok());
    assert!(matches!(
        make(&leaf, own.root(), &other_key),
        Err(IdentityError::Key(_))
    ));
    assert!(matches!(
        make(&leaf, other.root(), &key),
        Err(IdentityError::Chain(_))
    ));
    assert!(matches!(
        make(&unnamed, own.root(), &unnamed_key),
        Err(IdentityError::NoIdentity)
    ));
    assert!(matches!(
        make(b"x", own.root(), &key),
        Err(IdentityError::Certificate { .. })
    ));
    assert!(matches!(
        Credentials::new(vec![], vec![], key),
        Err(IdentityError::Empty("chain"))
    ));
}

#[test]
fn a_generation_is_of_the_content() {
    let (own, added) = (Authority::new(), Authority::new());
    let (leaf, key) = own.leaf(&[&identity("demo", "shop").to_string()]);
    let make = |roots| Credentials::new(vec![leaf.clone()], roots, key.clone()).unwrap();
    let first = make(vec![own.root()]);
    assert_eq!(first.generation(), make(vec![own.root()]).generation());
    assert_ne!(
        first.generation(),
        make(vec![own.root(), added.root()]).generation()
    );
}

#[test]
fn the_first_valid_identity_counts() {
    let authority = Authority::new();
    let names = [
        "https://shop.test",
        "spiffe://mesh.test/x",
        "spiffe://mesh.test/ns/demo/sa/shop",
    ];
    let (leaf, _) = authority.leaf(&names);
    assert_eq!(identity_of(&leaf.into()), Some(identity("demo", "shop")));
    assert_eq!(identity_of(&CertificateDer::from(vec![0x30])), None);
}

#[test]
fn saved_credentials_read_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run/identity");
    assert!(load(&path).unwrap().is_none());
    let credentials = Authority::new().credentials("demo", "shop");
    save(&path, &credentials).unwrap();
    save(&path, &credentials).unwrap();
    let file = path.join("credentials.json");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let loaded = load(&path).unwrap().unwrap();
    assert_eq!(loaded.generation(), credentials.generation());
    std::fs::write(&file, "{}").unwrap();
    assert!(load(&path).is_err());
}

#[test]
fn renewal_starts_at_a_third_of_life() {
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    for (life, jitter, expected) in [
        ((1_000, 4_000), 0.0, at(2_000)),
        ((1_000, 4_000), 1.0, at(2_300)),
        ((1_000, 4_000), f64::NAN, at(2_000)),
        ((4_000, 1_000), 1.0, at(4_000)),
    ] {
        assert_eq!(renew_at(life.0, life.1, jitter), expected);
    }
}

#[test]
fn the_control_plane_is_known_by_its_root_and_identity() {
    let (own, other) = (Authority::new(), Authority::new());
    let control = identity(CONTROL_NAMESPACE, CONTROL_ACCOUNT).to_string();
    let (leaf, _) = own.leaf(&[&control]);
    let (impostor, _) = own.leaf(&[&identity("demo", "shop").to_string()]);
    let (foreign, _) = other.leaf(&[&control]);
    let pin = |authority: &Authority| -> RootHash { Sha256::digest(authority.root()).into() };
    let roots = |domain: &str| ControlTrust::Roots {
        roots: vec![own.root().into()],
        trust_domain: domain.parse().unwrap(),
    };
    for (trust, leaf, sent, expected) in [
        (
            ControlTrust::Pinned(vec![pin(&own)]),
            &leaf,
            own.root(),
            true,
        ),
        (
            ControlTrust::Pinned(vec![pin(&other)]),
            &leaf,
            own.root(),
            false,
        ),
        (
            ControlTrust::Pinned(vec![pin(&own)]),
            &impostor,
            own.root(),
            false,
        ),
        (
            ControlTrust::Pinned(vec![pin(&own)]),
            &foreign,
            own.root(),
            false,
        ),
        (roots("mesh.test"), &leaf, vec![], true),
        (roots("other.test"), &leaf, vec![], false),
        (roots("mesh.test"), &impostor, vec![], false),
        (roots("mesh.test"), &foreign, vec![], false),
    ] {
        let verifier = control::verifier(&trust).unwrap();
        let sent: Vec<CertificateDer<'_>> = if sent.is_empty() {
            vec![]
        } else {
            vec![sent.into()]
        };
        let name = "control.test".try_into().unwrap();
        let result = verifier.verify_server_cert(
            &CertificateDer::from(leaf.clone()),
            &sent,
            &name,
            &[],
            UnixTime::now(),
        );
        assert_eq!(result.is_ok(), expected, "{trust:?}");
    }
}
