//! One authority and one leaf for both sides of every peer, P-256; TLS 1.3 on X25519.
//!
//! May use nothing of this crate.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::Value;

/// The name in the leaf.
pub(crate) const NAME: &str = "app.bench";

/// Writes `ca.pem`, `leaf.pem`, `leaf.key`, and `both.pem` (leaf and key in one).
pub(crate) fn write(folder: &Path) -> anyhow::Result<()> {
    let mut root = CertificateParams::new(Vec::new())?;
    // Two of one name would pass for one that signed itself.
    root.distinguished_name
        .push(DnType::CommonName, "bench root");
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root_key = KeyPair::generate()?;
    let ca = root.self_signed(&root_key)?.pem();
    let issuer = Issuer::new(root, root_key);
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec![NAME.to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, NAME);
    let leaf = params.signed_by(&key, &issuer)?.pem();
    let key = key.serialize_pem();
    for (name, text) in [
        ("ca.pem", &ca),
        ("leaf.pem", &leaf),
        ("leaf.key", &key),
        ("both.pem", &format!("{leaf}{key}")),
    ] {
        std::fs::write(folder.join(name), text).with_context(|| name.to_owned())?;
    }
    Ok(())
}

/// Mutual TLS of the side that dials.
pub(crate) fn client(folder: &Path) -> anyhow::Result<Arc<ClientConfig>> {
    let (chain, key) = identity(folder)?;
    let config = ClientConfig::builder_with_provider(provider(false))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots(folder)?)
        .with_client_auth_cert(chain, key)?;
    Ok(Arc::new(config))
}

/// Mutual TLS of the side that accepts.
pub(crate) fn server(folder: &Path) -> anyhow::Result<Arc<ServerConfig>> {
    let (chain, key) = identity(folder)?;
    let roots = Arc::new(roots(folder)?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider(false)).build()?;
    let config = ServerConfig::builder_with_provider(provider(false))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    Ok(Arc::new(config))
}

/// AES-128-GCM on X25519, or on the hybrid of it and ML-KEM-768.
pub(crate) fn provider(hybrid: bool) -> Arc<CryptoProvider> {
    let group = if hybrid {
        aws_lc_rs::kx_group::X25519MLKEM768
    } else {
        aws_lc_rs::kx_group::X25519
    };
    Arc::new(CryptoProvider {
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![group],
        ..aws_lc_rs::default_provider()
    })
}

fn roots(folder: &Path) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join("ca.pem"))?)?;
    Ok(roots)
}

/// The chain and key in a folder of ours, or in the one where a mesh-proxy keeps them.
pub(crate) fn identity(
    folder: &Path,
) -> anyhow::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let saved = folder.join("credentials.json");
    if saved.is_file() {
        let saved: Value = serde_json::from_slice(&std::fs::read(&saved)?)?;
        let all = saved["chain"].as_array().context("no chain")?;
        let chain: anyhow::Result<Vec<_>> = all.iter().map(der).collect();
        let chain = chain?.into_iter().map(CertificateDer::from).collect();
        let key = PrivatePkcs8KeyDer::from(der(&saved["key"])?);
        return Ok((chain, key.into()));
    }
    let chain = CertificateDer::from_pem_file(folder.join("leaf.pem"))?;
    let key = PrivateKeyDer::from_pem_file(folder.join("leaf.key"))?;
    Ok((vec![chain], key))
}

fn der(numbers: &Value) -> anyhow::Result<Vec<u8>> {
    Ok(serde_json::from_value(numbers.clone())?)
}
