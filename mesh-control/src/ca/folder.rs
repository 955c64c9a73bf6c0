//! Root and intermediate in files, as a control plane outside Kubernetes keeps them.
//!
//! | file under the state folder | what |
//! |---|---|
//! | `root/root.key` | the root's key; only needed to make a new intermediate |
//! | `ca/root.pem` | the root that signed the intermediate |
//! | `ca/intermediate.pem`, `ca/intermediate.key` | what signs leaves |
//! | `roots/*.pem` | every root that is trusted now |
//!
//! May use `material`, `state` and `error`.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::KeyPair;
use rustls_pki_types::CertificateDer;

use crate::ca::material::{self, Material, ends_soon, make_intermediate, make_root, remaining};
use crate::error::Error;
use crate::state;

/// The files of an authority.
pub struct Folder {
    state: PathBuf,
}

impl Folder {
    /// Opens the folders under `state`, made on first use.
    ///
    /// # Errors
    /// Folders that cannot be made.
    pub fn open(state: &Path) -> Result<Self, Error> {
        for folder in [state, &state.join("ca"), &state.join("roots")] {
            state::make_folder(folder)?;
        }
        Ok(Self {
            state: state.to_owned(),
        })
    }

    /// What is in the files; made where it is missing or due.
    ///
    /// # Errors
    /// Files that cannot be used, or an intermediate that has to be renewed without the root's key.
    pub fn material(&self, now: SystemTime) -> Result<Material, Error> {
        let online = self.state.join("ca");
        let existing = read_certificate(&online.join("intermediate.pem"))?
            .filter(|certificate| remaining(certificate, now) > Duration::ZERO);
        let can_replace = self.state.join("root").join("root.key").exists();
        if !can_replace && existing.as_ref().is_some_and(|text| ends_soon(text, now)) {
            tracing::warn!("the intermediate ends soon: put root/root.key back and start again");
        }
        let usable = existing.filter(|text| !can_replace || !ends_soon(text, now));
        let (intermediate, key) = match usable {
            Some(certificate) => (
                certificate,
                read_key(&online.join("intermediate.key"))?.ok_or_else(|| {
                    Error::Authority("ca/intermediate.pem has no ca/intermediate.key".into())
                })?,
            ),
            None => self.make_intermediate(now)?,
        };
        let root = read_certificate(&online.join("root.pem"))?
            .ok_or_else(|| Error::Authority("ca/root.pem is missing".into()))?;
        Ok(Material {
            intermediate,
            key,
            root,
            roots: self.roots()?,
        })
    }

    /// Every root that is trusted now.
    ///
    /// # Errors
    /// A file that is no certificate.
    pub fn roots(&self) -> Result<Vec<CertificateDer<'static>>, Error> {
        let folder = self.state.join("roots");
        let mut found = Vec::new();
        let entries = std::fs::read_dir(&folder).map_err(Error::io("read", &folder))?;
        for entry in entries {
            let path = entry.map_err(Error::io("read", &folder))?.path();
            if path.extension().is_some_and(|kind| kind == "pem") {
                let text = state::read(&path)?.unwrap_or_default();
                let place = path.display().to_string();
                found.extend(material::read_certificates(&place, &text)?);
            }
        }
        Ok(found)
    }

    fn make_intermediate(
        &self,
        now: SystemTime,
    ) -> Result<(CertificateDer<'static>, KeyPair), Error> {
        let (offline, online) = (self.state.join("root"), self.state.join("ca"));
        let own = read_certificate(&online.join("root.pem"))?;
        let (root, root_key) = match (own, read_key(&offline.join("root.key"))?) {
            (Some(root), Some(key)) => (root, key),
            (Some(_), None) => {
                return Err(Error::Authority(
                    "the intermediate is missing or has ended, and root/root.key is away: put it \
                     back"
                        .into(),
                ));
            }
            // A first start that was cut short left a key without a certificate: it is taken up.
            (None, Some(key)) => self.make_root(key, now)?,
            (None, None) => self.make_root(KeyPair::generate()?, now)?,
        };
        let made = make_intermediate(&root, root_key, now)?;
        // Never a certificate beside another's key, wherever this is cut short.
        state::remove(&online.join("intermediate.pem"))?;
        state::write(
            &online.join("intermediate.key"),
            made.key.serialize_pem().as_bytes(),
        )?;
        state::write(&online.join("intermediate.pem"), made.pem.as_bytes())?;
        Ok((made.certificate, made.key))
    }

    fn make_root(
        &self,
        key: KeyPair,
        now: SystemTime,
    ) -> Result<(CertificateDer<'static>, KeyPair), Error> {
        let offline = self.state.join("root");
        state::make_folder(&offline)?;
        let made = make_root(key, now)?;
        state::write(
            &offline.join("root.key"),
            made.key.serialize_pem().as_bytes(),
        )?;
        let pem = made.pem.as_bytes();
        state::write(&self.state.join("roots").join("root.pem"), pem)?;
        state::write(&self.state.join("ca").join("root.pem"), pem)?;
        Ok((made.certificate, made.key))
    }
}

fn read_certificate(path: &Path) -> Result<Option<CertificateDer<'static>>, Error> {
    let place = path.display().to_string();
    state::read(path)?
        .map(|text| material::read_certificate(&place, &text))
        .transpose()
}

fn read_key(path: &Path) -> Result<Option<KeyPair>, Error> {
    let place = path.display().to_string();
    state::read(path)?
        .map(|text| material::read_key(&place, &text))
        .transpose()
}
