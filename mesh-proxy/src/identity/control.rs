//! TLS towards the control plane.

use std::sync::Arc;

use mesh_api::name::{Identity, TrustDomain};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};

use super::{Credentials, IdentityError, harden_client, root_store, verify};

/// Namespace of the control plane's own identity.
pub const CONTROL_NAMESPACE: &str = "mesh-system";
/// Service account of the control plane's own identity.
pub const CONTROL_ACCOUNT: &str = "mesh-control";

/// SHA-256 of a root certificate's DER, as a join token pins it.
pub type RootHash = [u8; 32];

/// What vouches for the control plane.
#[derive(Clone, Debug)]
pub enum ControlTrust {
    /// These roots (DER), and a control plane of this trust domain.
    Roots {
        /// The roots.
        roots: Vec<CertificateDer<'static>>,
        /// The trust domain its identity must be of.
        trust_domain: TrustDomain,
    },
    /// A root with one of these hashes, sent along in the chain: joining. The control plane may be of
    /// any trust domain.
    Pinned(Vec<RootHash>),
}

/// Settings for the connection to the control plane, which proves its identity by URI name; its
/// DNS name and address play no part. With `credentials`, the client proves who it is.
///
/// # Errors
/// Roots that do not decode, or settings that cannot be built.
pub fn control_client_config(
    trust: &ControlTrust,
    credentials: Option<&Credentials>,
) -> Result<ClientConfig, IdentityError> {
    let builder = verify::client_builder(Arc::new(verifier(trust)?))?;
    let mut config = match credentials {
        Some(own) => builder
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own.certified.clone()))),
        None => builder.with_no_client_auth(),
    };
    harden_client(&mut config);
    Ok(config)
}

pub(super) fn verifier(trust: &ControlTrust) -> Result<ControlVerifier, IdentityError> {
    let anchor = match trust {
        ControlTrust::Roots {
            roots,
            trust_domain,
        } => Anchor::Roots {
            roots: root_store(roots)?,
            trust_domain: trust_domain.clone(),
        },
        ControlTrust::Pinned(hashes) => Anchor::Pinned(hashes.clone()),
    };
    Ok(ControlVerifier { anchor })
}

#[derive(Debug)]
pub(super) struct ControlVerifier {
    anchor: Anchor,
}

#[derive(Debug)]
enum Anchor {
    Roots {
        roots: RootCertStore,
        trust_domain: TrustDomain,
    },
    Pinned(Vec<RootHash>),
}

/// Why a server is not the control plane.
#[derive(Debug, thiserror::Error)]
enum NotControl {
    #[error(
        "the server does not send a root that is pinned; is the join token, or MESH_ROOT_HASHES of the pod, of another mesh?"
    )]
    RootNotPinned,
    #[error(
        "the server is {0:?}, not the control plane (ns/{CONTROL_NAMESPACE}/sa/{CONTROL_ACCOUNT})"
    )]
    Identity(Option<Identity>),
}

impl ControlVerifier {
    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let mut chain = vec![leaf.clone()];
        chain.extend_from_slice(intermediates);
        match &self.anchor {
            Anchor::Roots { roots, .. } => verify::check_chain(&chain, roots, now)?,
            Anchor::Pinned(hashes) => {
                let mut sent = intermediates.iter();
                let root = sent.find(|c| hashes.iter().any(|hash| is_pinned(c, hash)));
                let root = root.ok_or_else(|| verify::refuse(NotControl::RootNotPinned))?;
                let mut store = RootCertStore::empty();
                store.add(root.clone().into_owned())?;
                verify::check_chain(&chain, &store, now)?;
            }
        }
        let identity = verify::identity_of(leaf);
        if identity.as_ref().is_some_and(|id| self.is_control(id)) {
            Ok(())
        } else {
            Err(verify::refuse(NotControl::Identity(identity)))
        }
    }

    fn is_control(&self, identity: &Identity) -> bool {
        let domain = match &self.anchor {
            Anchor::Roots { trust_domain, .. } => identity.trust_domain == *trust_domain,
            Anchor::Pinned(_) => true,
        };
        domain
            && identity.namespace.as_str() == CONTROL_NAMESPACE
            && identity.service_account.as_str() == CONTROL_ACCOUNT
    }
}

fn is_pinned(certificate: &CertificateDer<'_>, hash: &RootHash) -> bool {
    Sha256::digest(certificate).as_slice() == hash
}

impl ServerCertVerifier for ControlVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(leaf, intermediates, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(verify::only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify::check_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        verify::provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
