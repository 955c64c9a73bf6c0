//! A small certificate authority for tests.

use mesh_api::name::Identity;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};

use super::{Credentials, Key};

/// A root that signs leaves directly.
pub struct Authority {
    root: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new root with a key of its own.
    #[expect(
        clippy::new_without_default,
        reason = "a key made by default would surprise"
    )]
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = parameters.self_signed(&key).unwrap().der().to_vec();
        Self {
            root,
            issuer: Issuer::new(parameters, key),
        }
    }

    /// The root's DER.
    pub fn root(&self) -> Vec<u8> {
        self.root.clone()
    }

    /// A leaf (DER) with these URI names, and its key.
    pub fn leaf(&self, names: &[&str]) -> (Vec<u8>, Key) {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::default();
        parameters.subject_alt_names = names
            .iter()
            .map(|name| SanType::URI((*name).try_into().unwrap()))
            .collect();
        parameters.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        let leaf = parameters.signed_by(&key, &self.issuer).unwrap();
        (leaf.der().to_vec(), Key::from_pkcs8(key.serialize_der()))
    }

    /// Credentials of `spiffe://mesh.test/ns/<namespace>/sa/<account>`.
    pub fn credentials(&self, namespace: &str, account: &str) -> Credentials {
        let name = identity(namespace, account).to_string();
        let (leaf, key) = self.leaf(&[&name]);
        Credentials::new(vec![leaf], vec![self.root()], key).unwrap()
    }
}

/// `spiffe://mesh.test/ns/<namespace>/sa/<account>`.
pub fn identity(namespace: &str, account: &str) -> Identity {
    format!("spiffe://mesh.test/ns/{namespace}/sa/{account}")
        .parse()
        .unwrap()
}
