//! Root and intermediate in Secrets, and the trusted roots in a ConfigMap.
//!
//! | object | keys |
//! |---|---|
//! | Secret `mesh-ca-root` | `tls.crt`, `tls.key`; only needed to make a new intermediate, and may be taken away |
//! | Secret `mesh-ca-intermediate` | `tls.crt`, `tls.key`: what signs leaves; `root.crt`: what signed it |
//! | ConfigMap `mesh-ca-roots` | `roots.pem`: every root that is trusted now; `trustDomain`: the one that certificates carry, written once |
//!
//! All three are only ever created: of two replicas that start at once the first one's stay, and the
//! second reads them. A new root is made only where no trusted root is known, so taking keys away
//! never makes a second mesh. May use `ca` and `error`.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, ResourceExt as _};
use mesh_api::name::{Namespace, TrustDomain};
use rcgen::KeyPair;
use rustls_pki_types::CertificateDer;

use crate::ca::material::{
    Material, Pair, ends_soon, make_intermediate, make_root, read_certificate, read_certificates,
    read_key, remaining,
};
use crate::error::Error;
use crate::kubernetes::failed;

/// The objects of an authority.
#[derive(Clone)]
pub struct Secrets {
    secrets: Api<Secret>,
    maps: Api<ConfigMap>,
}

/// The intermediate as it is kept.
struct Intermediate {
    certificate: CertificateDer<'static>,
    key: KeyPair,
    root: CertificateDer<'static>,
    version: Option<String>,
}

impl Secrets {
    /// Those in `namespace`.
    pub fn new(client: &Client, namespace: &Namespace) -> Self {
        Self {
            secrets: Api::namespaced(client.clone(), namespace.as_str()),
            maps: Api::namespaced(client.clone(), namespace.as_str()),
        }
    }

    /// What is in the objects; made where it is missing or due.
    ///
    /// # Errors
    /// An API server that refuses, objects that cannot be used, or an intermediate that has to be
    /// made without the root's key.
    pub async fn material(&self, now: SystemTime) -> Result<Material, Error> {
        let intermediate = match self.intermediate().await? {
            Some(held) if !self.is_due(&held, now).await? => held,
            held => self.make(held, now).await?,
        };
        let roots = self.roots(&intermediate.root).await?;
        Ok(Material {
            intermediate: intermediate.certificate,
            key: intermediate.key,
            root: intermediate.root,
            roots,
        })
    }

    /// True if the intermediate has to be replaced: it has ended, or ends soon and the root's key is
    /// there.
    async fn is_due(&self, held: &Intermediate, now: SystemTime) -> Result<bool, Error> {
        if remaining(&held.certificate, now) == Duration::ZERO {
            return Ok(true);
        }
        if !ends_soon(&held.certificate, now) {
            return Ok(false);
        }
        let can_replace = self.root().await?.is_some();
        if !can_replace {
            tracing::warn!("the intermediate ends soon: put the Secret {ROOT} back");
        }
        Ok(can_replace)
    }

    /// Makes an intermediate in the place of `held`, or takes the one that another replica made.
    async fn make(
        &self,
        held: Option<Intermediate>,
        now: SystemTime,
    ) -> Result<Intermediate, Error> {
        let root = match self.root().await? {
            Some(root) => root,
            None if held.is_none() && self.known_roots().await?.is_none() => {
                self.make_root(now).await?
            }
            None => return Err(Error::Authority(NO_ROOT_KEY.into())),
        };
        let made = make_intermediate(&root.certificate, root.key, now)?;
        let mut secret = secret(INTERMEDIATE, &made);
        let data = secret.data.get_or_insert_default();
        data.insert("root.crt".into(), ByteString(root.pem.into_bytes()));
        secret.metadata.resource_version = held.and_then(|held| held.version);
        let written = if secret.metadata.resource_version.is_some() {
            let params = PostParams::default();
            self.secrets.replace(INTERMEDIATE, &params, &secret).await
        } else {
            self.secrets.create(&PostParams::default(), &secret).await
        };
        match written {
            Ok(_) => {}
            // Another replica was first: what it made is there now.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(failed(format!("write Secret {INTERMEDIATE}"))(error)),
        }
        self.intermediate()
            .await?
            .ok_or_else(|| Error::Authority(format!("Secret {INTERMEDIATE} was there and is gone")))
    }

    async fn make_root(&self, now: SystemTime) -> Result<Pair, Error> {
        let made = make_root(KeyPair::generate()?, now)?;
        let params = PostParams::default();
        match self.secrets.create(&params, &secret(ROOT, &made)).await {
            Ok(_) => Ok(made),
            Err(kube::Error::Api(status)) if status.code == 409 => self
                .root()
                .await?
                .ok_or_else(|| Error::Authority(format!("Secret {ROOT} was there and is gone"))),
            Err(error) => Err(failed(format!("write Secret {ROOT}"))(error)),
        }
    }

    async fn root(&self) -> Result<Option<Pair>, Error> {
        let Some(secret) = self.read(ROOT).await? else {
            return Ok(None);
        };
        let pem = field(ROOT, &secret, "tls.crt")?;
        Ok(Some(Pair {
            certificate: read_certificate(&place(ROOT, "tls.crt"), pem)?,
            pem: String::from_utf8_lossy(pem).into_owned(),
            key: read_key(&place(ROOT, "tls.key"), field(ROOT, &secret, "tls.key")?)?,
        }))
    }

    async fn intermediate(&self) -> Result<Option<Intermediate>, Error> {
        let Some(secret) = self.read(INTERMEDIATE).await? else {
            return Ok(None);
        };
        let read = |name: &str| field(INTERMEDIATE, &secret, name);
        let certificate = |name: &str| read_certificate(&place(INTERMEDIATE, name), read(name)?);
        Ok(Some(Intermediate {
            certificate: certificate("tls.crt")?,
            key: read_key(&place(INTERMEDIATE, "tls.key"), read("tls.key")?)?,
            root: certificate("root.crt")?,
            version: secret.resource_version(),
        }))
    }

    async fn read(&self, name: &str) -> Result<Option<Secret>, Error> {
        let found = self.secrets.get_opt(name).await;
        found.map_err(failed(format!("read Secret {name}")))
    }

    /// Every trusted root; the authority's own at first.
    async fn roots(
        &self,
        own: &CertificateDer<'static>,
    ) -> Result<Vec<CertificateDer<'static>>, Error> {
        if let Some(roots) = self.known_roots().await? {
            return Ok(roots);
        }
        let map = ConfigMap {
            metadata: named(ROOTS),
            data: Some(BTreeMap::from([("roots.pem".into(), pem(own))])),
            ..ConfigMap::default()
        };
        match self.maps.create(&PostParams::default(), &map).await {
            Ok(_) => Ok(vec![own.clone()]),
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let known = self.known_roots().await?;
                known.ok_or_else(|| Error::Authority(format!("ConfigMap {ROOTS} has no roots.pem")))
            }
            Err(error) => Err(failed(format!("write ConfigMap {ROOTS}"))(error)),
        }
    }

    /// The trust domain that this mesh first ran with, if it ran before.
    ///
    /// # Errors
    /// An API server that refuses, or a text that is no trust domain.
    pub async fn trust_domain(&self) -> Result<Option<TrustDomain>, Error> {
        let found = self.maps.get_opt(ROOTS).await;
        let found = found.map_err(failed(format!("read ConfigMap {ROOTS}")))?;
        let text = found.and_then(|map| map.data?.remove(TRUST_DOMAIN));
        text.map(|text| {
            let read = text.trim().parse();
            read.map_err(|fault| {
                Error::Authority(format!("{}: {fault}", place(ROOTS, TRUST_DOMAIN)))
            })
        })
        .transpose()
    }

    /// Writes the trust domain down, so that it stays; one that is there is left.
    ///
    /// # Errors
    /// An API server that refuses.
    pub async fn keep_trust_domain(&self, domain: &TrustDomain) -> Result<(), Error> {
        let found = self.maps.get_opt(ROOTS).await;
        let Some(mut map) = found.map_err(failed(format!("read ConfigMap {ROOTS}")))? else {
            return Ok(());
        };
        let data = map.data.get_or_insert_default();
        if data.contains_key(TRUST_DOMAIN) {
            return Ok(());
        }
        data.insert(TRUST_DOMAIN.into(), domain.to_string());
        match self.maps.replace(ROOTS, &PostParams::default(), &map).await {
            Ok(_) => Ok(()),
            // Another replica was first, and read the same objects.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            Err(error) => Err(failed(format!("write ConfigMap {ROOTS}"))(error)),
        }
    }

    async fn known_roots(&self) -> Result<Option<Vec<CertificateDer<'static>>>, Error> {
        let found = self.maps.get_opt(ROOTS).await;
        let found = found.map_err(failed(format!("read ConfigMap {ROOTS}")))?;
        let text = found.and_then(|map| map.data?.remove("roots.pem"));
        text.map(|text| read_certificates(&place(ROOTS, "roots.pem"), text.as_bytes()))
            .transpose()
    }
}

/// Certificates as PEM.
pub(crate) fn pem(certificate: &CertificateDer<'_>) -> String {
    // The bytes of a Secret are base64 in JSON.
    let encoded = serde_json::to_value(ByteString(certificate.to_vec())).unwrap_or_default();
    let encoded = encoded.as_str().unwrap_or_default().as_bytes();
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in encoded.chunks(64) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

fn secret(name: &str, pair: &Pair) -> Secret {
    let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
    Secret {
        metadata: named(name),
        type_: Some("kubernetes.io/tls".into()),
        data: Some(BTreeMap::from([
            ("tls.crt".into(), bytes(&pair.pem)),
            ("tls.key".into(), bytes(&pair.key.serialize_pem())),
        ])),
        ..Secret::default()
    }
}

fn named(name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.into()),
        labels: Some(BTreeMap::from([(
            "app.kubernetes.io/part-of".into(),
            "mesh".into(),
        )])),
        ..ObjectMeta::default()
    }
}

fn field<'a>(name: &str, secret: &'a Secret, key: &str) -> Result<&'a [u8], Error> {
    let found = secret.data.as_ref().and_then(|data| data.get(key));
    found
        .map(|bytes| bytes.0.as_slice())
        .ok_or_else(|| Error::Authority(format!("{} is missing", place(name, key))))
}

fn place(name: &str, key: &str) -> String {
    format!("{name}[{key}]")
}

const ROOT: &str = "mesh-ca-root";
const INTERMEDIATE: &str = "mesh-ca-intermediate";
const ROOTS: &str = "mesh-ca-roots";
const TRUST_DOMAIN: &str = "trustDomain";
const NO_ROOT_KEY: &str = "the intermediate is missing or has ended, and the Secret mesh-ca-root is \
     away: put it back";
