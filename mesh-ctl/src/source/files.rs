//! Manifests in files and folders, read as the control plane reads them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use mesh_api::error::Invalid;
use mesh_api::manifest::{Located, ManifestFault, read};
use mesh_api::resource::ResourceKey;
use mesh_api::translate::Catalog;

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Files {
    /// Files read.
    pub(crate) count: usize,
    /// Resources, in the order read.
    pub(crate) resources: Vec<(ResourceKey, Located)>,
    /// What is wrong with single documents.
    pub(crate) faults: Vec<ManifestFault>,
    /// Everything together.
    pub(crate) catalog: Catalog,
}

impl Files {
    /// Reads every path: a file, or the `.yaml`, `.yml` and `.json` files of a folder.
    pub(crate) fn read(paths: &[PathBuf]) -> anyhow::Result<Self> {
        let mut files = Self::default();
        for path in paths {
            for file in list(path)? {
                files.add(&file)?;
            }
        }
        Ok(files)
    }

    /// Every fault: of documents, of resources by themselves, and of references between them.
    pub(crate) fn all_faults(&self) -> Vec<ManifestFault> {
        let mut faults = self.faults.clone();
        for (key, located) in &self.resources {
            let Some(verdict) = self.catalog.verdict(key) else {
                continue;
            };
            faults.extend(verdict.faults.iter().map(|fault| located.fault(fault)));
            if let Err(reason) = &verdict.resolved_refs {
                faults.push(located.fault(&Invalid::new("spec", reason.clone())));
            }
        }
        faults
    }

    fn add(&mut self, file: &Path) -> anyhow::Result<()> {
        let text =
            fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let manifest = read(&file.display().to_string(), &text);
        self.count += 1;
        self.faults.extend(manifest.faults);
        for located in manifest.resources {
            match located.resource.key() {
                Err(fault) => self.faults.push(located.fault(&fault)),
                Ok(key) if self.resources.iter().any(|(known, _)| *known == key) => {
                    let fault = Invalid::new("metadata.name", format!("{key} is defined twice"));
                    self.faults.push(located.fault(&fault));
                }
                Ok(key) => {
                    self.catalog.apply(located.resource.clone());
                    self.resources.push((key, located));
                }
            }
        }
        Ok(())
    }
}

fn list(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let context = || format!("cannot read {}", path.display());
    if !path.is_dir() {
        fs::metadata(path).with_context(context)?;
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).with_context(context)? {
        let file = entry.with_context(context)?.path();
        let kind = file.extension().and_then(|extension| extension.to_str());
        if matches!(kind, Some("yaml" | "yml" | "json")) && !is_hidden(&file) {
            files.push(file);
        }
    }
    if files.is_empty() {
        bail!("{} holds no .yaml, .yml or .json file", path.display());
    }
    files.sort_unstable();
    Ok(files)
}

fn is_hidden(file: &Path) -> bool {
    let name = file.file_name().and_then(|name| name.to_str());
    name.is_none_or(|name| name.starts_with('.'))
}
