//! The TLS provider used between proxies, and how certificates are checked.

use std::sync::{Arc, OnceLock};

use mesh_api::name::{Identity, TrustDomain};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, ClientConfig, CommonState, ConfigBuilder, DigitallySignedStruct,
    DistinguishedName, Error, OtherError, RootCertStore, SignatureScheme,
};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::parse_x509_certificate;

use super::IdentityError;
use super::verified::{Known, Verified};

/// A peer that proved to be someone else than who was called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, the peer is {}", .presented.as_ref().map_or("unnamed".to_owned(), ToString::to_string))]
pub struct WrongIdentity {
    /// Who was called.
    pub expected: Identity,
    /// Who answered; `None` for a certificate without an identity.
    pub presented: Option<Identity>,
}

/// The peer's identity: the first valid one of its certificate. `None` before the handshake ended.
pub fn peer_identity(connection: &CommonState) -> Option<Identity> {
    identity_of(connection.peer_certificates()?.first()?)
}

/// When the peer's certificate ends, in seconds since the epoch.
pub fn peer_not_after(connection: &CommonState) -> Option<i64> {
    let leaf = connection.peer_certificates()?.first()?;
    Some(Facts::read(leaf).ok()?.not_after)
}

/// The first valid SPIFFE ID among a certificate's URI names; other names are skipped.
pub fn identity_of(certificate: &CertificateDer<'_>) -> Option<Identity> {
    Facts::read(certificate).ok()?.identity
}

/// What is read from a leaf. Nothing here is trusted before the chain is verified.
pub(super) struct Facts {
    pub(super) identity: Option<Identity>,
    pub(super) not_before: i64,
    pub(super) not_after: i64,
    pub(super) serial: String,
}

impl Facts {
    pub(super) fn read(certificate: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let bad = |reason: String| IdentityError::Certificate {
            part: "chain",
            reason,
        };
        let (rest, parsed) =
            parse_x509_certificate(certificate).map_err(|error| bad(error.to_string()))?;
        if !rest.is_empty() {
            return Err(bad("bytes follow it".to_owned()));
        }
        let names =
            parsed
                .extensions()
                .iter()
                .filter_map(|extension| match extension.parsed_extension() {
                    ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
                    _ => None,
                });
        let identity = names.flatten().find_map(|name| match name {
            GeneralName::URI(uri) => uri.parse().ok(),
            _ => None,
        });
        Ok(Self {
            identity,
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
            serial: parsed.tbs_certificate.raw_serial_as_string(),
        })
    }
}

/// AES-GCM under TLS 1.3; hybrid post-quantum first, P-256 for builds without X25519.
pub(super) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    let make = || {
        Arc::new(CryptoProvider {
            cipher_suites: vec![
                aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
                aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
            ],
            kx_groups: vec![
                aws_lc_rs::kx_group::X25519MLKEM768,
                aws_lc_rs::kx_group::X25519,
                aws_lc_rs::kx_group::SECP256R1,
            ],
            ..aws_lc_rs::default_provider()
        })
    };
    PROVIDER.get_or_init(make).clone()
}

/// Checks that `chain` leads to one of `roots` and may serve.
pub(super) fn check_chain(
    chain: &[CertificateDer<'_>],
    roots: &RootCertStore,
    now: UnixTime,
) -> Result<(), Error> {
    let (leaf, intermediates) = chain.split_first().ok_or(Error::NoCertificatesPresented)?;
    let leaf = ParsedCertificate::try_from(leaf)?;
    let algorithms = provider().signature_verification_algorithms.all;
    verify_server_cert_signed_by_trust_anchor(&leaf, roots, intermediates, now, algorithms)
}

pub(super) fn client_builder(
    verifier: Arc<dyn ServerCertVerifier>,
) -> Result<ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>, IdentityError> {
    Ok(ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| IdentityError::Settings(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier))
}

/// Takes a server whose chain leads to the roots and whose certificate names the one expected.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    expected: Identity,
    roots: Arc<RootCertStore>,
}

impl ServerVerifier {
    pub(super) fn expecting(expected: Identity, roots: Arc<RootCertStore>) -> Self {
        Self { expected, roots }
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let algorithms = provider().signature_verification_algorithms.all;
        let parsed = ParsedCertificate::try_from(leaf)?;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            algorithms,
        )?;
        let presented = identity_of(leaf);
        if presented.as_ref() == Some(&self.expected) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(refuse(WrongIdentity {
            expected: self.expected.clone(),
            presented,
        }))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Takes a client whose chain leads to the roots and whose identity is of a known trust domain.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    domains: Vec<TrustDomain>,
    chain: Arc<dyn ClientCertVerifier>,
    verified: Verified,
}

/// A client without an identity of the mesh.
#[derive(Debug, thiserror::Error)]
#[error("the client's certificate carries no identity of a trust domain known here")]
struct ForeignClient;

impl ClientVerifier {
    pub(super) fn new(
        domains: Vec<TrustDomain>,
        roots: Arc<RootCertStore>,
    ) -> Result<Self, IdentityError> {
        let chain = WebPkiClientVerifier::builder_with_provider(roots, provider())
            .clear_root_hint_subjects()
            .build()
            .map_err(|error| IdentityError::Settings(error.to_string()))?;
        Ok(Self {
            domains,
            chain,
            verified: Verified::new(),
        })
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verify = || {
            self.chain.verify_client_cert(leaf, intermediates, now)?;
            known(leaf, intermediates)
        };
        match self.verified.identity((leaf, intermediates), now, verify)? {
            Some(identity) if self.domains.contains(&identity.trust_domain) => {
                Ok(ClientCertVerified::assertion())
            }
            _ => Err(refuse(ForeignClient)),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// What a chain that was verified says.
fn known(leaf: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> Result<Known, Error> {
    let read = |certificate| Facts::read(certificate).map_err(refuse);
    let leaf = read(leaf)?;
    let (mut from, mut until) = (leaf.not_before, leaf.not_after);
    for certificate in intermediates {
        let facts = read(certificate)?;
        from = from.max(facts.not_before);
        until = until.min(facts.not_after);
    }
    Ok(Known {
        identity: leaf.identity,
        valid: from..=until,
    })
}

pub(super) fn check_signature(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let algorithms = provider().signature_verification_algorithms;
    verify_tls13_signature(message, certificate, signature, &algorithms)
}

pub(super) fn only_tls13() -> Error {
    Error::General("TLS 1.3 is required".to_owned())
}

/// A refusal with its own reason; the peer gets an alert about its certificate.
pub(super) fn refuse(reason: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(reason))))
}
