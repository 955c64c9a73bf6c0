//! Container images without a container engine: one layer, one configuration, one archive.
//!
//! The archive is an OCI layout that also carries Docker's own `manifest.json`, as `docker save` writes
//! it: `docker load`, `ctr images import` and `kind load image-archive` take it. The same content gives
//! the same bytes: entries are sorted, owners and times are fixed. May use nothing of this crate.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// What an image runs, and as whom.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs {
    pub(crate) entrypoint: Vec<String>,
    pub(crate) environment: Vec<String>,
    /// `uid:gid`; root if empty.
    pub(crate) user: String,
}

/// An image to write.
#[derive(Default)]
pub(crate) struct Image {
    /// All its names, with tags.
    pub(crate) names: Vec<String>,
    pub(crate) runs: Runs,
    entries: BTreeMap<String, Entry>,
}

enum Entry {
    Folder { mode: u32, owner: u32 },
    File { from: PathBuf, mode: u32 },
    Text { text: String, mode: u32 },
    Link { to: String },
}

/// A blob of the archive.
struct Blob {
    digest: String,
    size: u64,
}

impl Image {
    /// An empty image.
    pub(crate) fn new(names: &[&str], runs: Runs) -> Self {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        Self {
            names,
            runs,
            ..Self::default()
        }
    }

    /// A copy of a file of this machine; links are followed.
    pub(crate) fn file(&mut self, at: &str, from: &Path, mode: u32) -> &mut Self {
        let from = from.to_owned();
        self.put(at, Entry::File { from, mode })
    }

    /// A file with this text.
    pub(crate) fn text(&mut self, at: &str, text: &str) -> &mut Self {
        let text = text.to_owned();
        self.put(at, Entry::Text { text, mode: 0o644 })
    }

    /// An empty folder.
    pub(crate) fn folder(&mut self, at: &str, mode: u32) -> &mut Self {
        self.folder_of(at, mode, 0)
    }

    /// An empty folder of a user and its group.
    pub(crate) fn folder_of(&mut self, at: &str, mode: u32, owner: u32) -> &mut Self {
        self.put(at, Entry::Folder { mode, owner })
    }

    /// A symbolic link.
    pub(crate) fn link(&mut self, at: &str, to: &str) -> &mut Self {
        let to = to.to_owned();
        self.put(at, Entry::Link { to })
    }

    /// The libraries that a program needs, by what `ldd` says of it; `root` is where the paths start.
    pub(crate) fn libraries(&mut self, said: &str, root: &Path) -> &mut Self {
        for (at, from) in said.lines().filter_map(library) {
            self.file(&at, &root.join(from.trim_start_matches('/')), 0o755);
        }
        self
    }

    fn put(&mut self, at: &str, entry: Entry) -> &mut Self {
        let at = at.trim_start_matches('/');
        for (end, _) in at.match_indices('/') {
            let parent = at.get(..end).unwrap_or_default().to_owned();
            let folder = Entry::Folder {
                mode: 0o755,
                owner: 0,
            };
            self.entries.entry(parent).or_insert(folder);
        }
        self.entries.insert(at.to_owned(), entry);
        self
    }

    /// Writes the archive; its size in bytes.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<u64> {
        let part = path.with_extension("part");
        self.write_to(&part)
            .with_context(|| format!("image {}", self.names.join(", ")))?;
        std::fs::rename(&part, path)?;
        Ok(std::fs::metadata(path)?.len())
    }

    fn write_to(&self, path: &Path) -> anyhow::Result<()> {
        let file = File::create(path).with_context(|| path.display().to_string())?;
        let mut archive = tar::Builder::new(std::io::BufWriter::new(file));
        let mut layer = self.layer()?;
        let layer_blob = add_layer(&mut archive, &mut layer)?;
        let config = self.config(&layer_blob.digest).to_string();
        let config = add_blob(&mut archive, config.as_bytes())?;
        let manifest = manifest(&config, &layer_blob).to_string();
        let manifest = add_blob(&mut archive, manifest.as_bytes())?;
        add(&mut archive, "index.json", &self.index(&manifest))?;
        let docker = json!([{
            "Config": blob_path(&config.digest),
            "RepoTags": self.names,
            "Layers": [blob_path(&layer_blob.digest)],
        }]);
        add(&mut archive, "manifest.json", &docker)?;
        add(
            &mut archive,
            "oci-layout",
            &json!({ "imageLayoutVersion": "1.0.0" }),
        )?;
        archive.into_inner()?.flush()?;
        Ok(())
    }

    /// The layer, in a file without a name.
    fn layer(&self) -> anyhow::Result<File> {
        let file = tempfile::tempfile()?;
        let mut layer = tar::Builder::new(std::io::BufWriter::new(file));
        for (at, entry) in &self.entries {
            entry.append(&mut layer, at).with_context(|| at.clone())?;
        }
        let file = layer.into_inner()?.into_inner();
        let mut file = file.map_err(std::io::IntoInnerError::into_error)?;
        file.rewind()?;
        Ok(file)
    }

    fn config(&self, layer: &str) -> Value {
        json!({
            "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
            "os": "linux",
            "config": {
                "Entrypoint": self.runs.entrypoint,
                "Env": self.runs.environment,
                "User": self.runs.user,
            },
            "rootfs": { "type": "layers", "diff_ids": [layer] },
        })
    }

    fn index(&self, manifest: &Blob) -> Value {
        let named = |name: &String| {
            let tag = name.rsplit(':').next().unwrap_or_default();
            json!({
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": manifest.digest,
                "size": manifest.size,
                "annotations": {
                    "io.containerd.image.name": name,
                    "org.opencontainers.image.ref.name": tag,
                },
            })
        };
        let manifests: Vec<Value> = self.names.iter().map(named).collect();
        json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": manifests,
        })
    }
}

impl Entry {
    fn append(&self, layer: &mut tar::Builder<impl Write>, at: &str) -> anyhow::Result<()> {
        match self {
            Self::Folder { mode, owner } => {
                let mut header = header(tar::EntryType::Directory, *mode, 0);
                header.set_uid(u64::from(*owner));
                header.set_gid(u64::from(*owner));
                layer.append_data(&mut header, format!("{at}/"), std::io::empty())?;
            }
            Self::File { from, mode } => {
                let file = File::open(from).with_context(|| from.display().to_string())?;
                let size = file.metadata()?.len();
                let mut header = header(tar::EntryType::Regular, *mode, size);
                layer.append_data(&mut header, at, file)?;
            }
            Self::Text { text, mode } => {
                let size = text.len() as u64;
                let mut header = header(tar::EntryType::Regular, *mode, size);
                layer.append_data(&mut header, at, text.as_bytes())?;
            }
            Self::Link { to } => {
                let mut header = header(tar::EntryType::Symlink, 0o777, 0);
                layer.append_link(&mut header, at, to)?;
            }
        }
        Ok(())
    }
}

/// One line of `ldd`: where the loader looks for a library, and where it is now.
fn library(line: &str) -> Option<(String, String)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        // The loader itself is named by its path.
        [path, _] if path.starts_with('/') => Some((path.to_owned(), path.to_owned())),
        [name, "=>", path, _] if path.starts_with('/') => {
            let folder = format!("/lib/{}-linux-gnu", std::env::consts::ARCH);
            Some((format!("{folder}/{name}"), path.to_owned()))
        }
        _ => None,
    }
}

fn manifest(config: &Blob, layer: &Blob) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": config.digest,
            "size": config.size,
        },
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": layer.digest,
            "size": layer.size,
        }],
    })
}

fn add_layer(archive: &mut tar::Builder<impl Write>, layer: &mut File) -> anyhow::Result<Blob> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut size = 0;
    loop {
        let count = layer.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        hash.update(buffer.get(..count).unwrap_or_default());
        size += count as u64;
    }
    layer.rewind()?;
    let digest = format!("sha256:{}", hexadecimal(&hash.finalize()));
    let mut header = header(tar::EntryType::Regular, 0o644, size);
    archive.append_data(&mut header, blob_path(&digest), layer)?;
    Ok(Blob { digest, size })
}

fn add_blob(archive: &mut tar::Builder<impl Write>, bytes: &[u8]) -> anyhow::Result<Blob> {
    let digest = format!("sha256:{}", hexadecimal(&Sha256::digest(bytes)));
    let size = bytes.len() as u64;
    let mut header = header(tar::EntryType::Regular, 0o644, size);
    archive.append_data(&mut header, blob_path(&digest), bytes)?;
    Ok(Blob { digest, size })
}

fn add(archive: &mut tar::Builder<impl Write>, at: &str, value: &Value) -> anyhow::Result<()> {
    let text = value.to_string();
    let mut header = header(tar::EntryType::Regular, 0o644, text.len() as u64);
    archive.append_data(&mut header, at, text.as_bytes())?;
    Ok(())
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn blob_path(digest: &str) -> String {
    format!("blobs/{}", digest.replace(':', "/"))
}

/// Bytes as text.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        write!(text, "{byte:02x}").ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Image, Runs};

    fn image() -> Image {
        let runs = Runs {
            entrypoint: vec!["/bin/app".to_owned()],
            user: "15008:15008".to_owned(),
            ..Runs::default()
        };
        let mut image = Image::new(&["mesh.dev/app:1"], runs);
        image.text("/etc/passwd", "mesh:x:15008:15008::/:/\n");
        image.folder("/var/lib/app", 0o700);
        image.link("/bin/sh", "app");
        image
    }

    fn names(bytes: &[u8]) -> Vec<String> {
        let mut archive = tar::Archive::new(bytes);
        let entries = archive.entries().unwrap();
        let path = |entry: std::io::Result<tar::Entry<'_, _>>| {
            entry.unwrap().path().unwrap().display().to_string()
        };
        entries.map(path).collect()
    }

    #[test]
    fn the_same_content_gives_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let written = ["a.tar", "b.tar"].map(|name| {
            let path = folder.path().join(name);
            image().write(&path).unwrap();
            std::fs::read(path).unwrap()
        });
        assert_eq!(written[0], written[1]);
        let found = names(&written[0]);
        assert!(
            found.iter().any(|name| name == "manifest.json"),
            "{found:?}"
        );
        assert!(found.iter().any(|name| name == "index.json"), "{found:?}");
    }

    #[test]
    fn libraries_lie_where_the_loader_looks() {
        let said =
            "linux-vdso.so.1 (0x1)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x2)\n\t/lib64/ld.so.2 (0x3)";
        let found: Vec<_> = said.lines().filter_map(super::library).collect();
        let folder = format!("/lib/{}-linux-gnu/libc.so.6", std::env::consts::ARCH);
        let expected = [
            (folder, "/lib/x/libc.so.6"),
            ("/lib64/ld.so.2".into(), "/lib64/ld.so.2"),
        ];
        assert_eq!(found, expected.map(|(at, from)| (at, from.to_owned())));
    }

    #[test]
    fn folders_come_before_what_is_in_them() {
        let mut layer = image().layer().unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut layer, &mut bytes).unwrap();
        let expected = [
            "bin",
            "bin/sh",
            "etc",
            "etc/passwd",
            "var",
            "var/lib",
            "var/lib/app",
        ];
        let found = names(&bytes);
        let found: Vec<&str> = found
            .iter()
            .map(|name| name.trim_end_matches('/'))
            .collect();
        assert_eq!(found, expected);
    }
}
