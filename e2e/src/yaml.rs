//! The YAML of pages and of files beside them, read as the control plane reads it. May use `page`.

use std::path::Path;

use mesh_api::error::Invalid;
use mesh_api::manifest::{Located, read};
use mesh_api::translate::Catalog;

use crate::page::{Block, Page, fits};

/// What is wrong with the YAML of a page, as text; empty if nothing is.
///
/// References are resolved among the blocks of the page. A `fragment` must be YAML; an `invalid` block
/// must be refused with the text of the block that follows it.
pub fn faults_of_page(page: &Page) -> Vec<String> {
    let mut faults = Vec::new();
    let mut whole = Manifests::default();
    for block in yaml(page).filter(|block| block.flags.is_empty()) {
        whole.add(&page.path, &at_its_line(block));
    }
    faults.extend(whole.faults());
    for block in yaml(page).filter(|block| block.has("fragment")) {
        let read = read(&page.path, &at_its_line(block));
        let broken = read.faults.iter().filter(|fault| fault.path != "kind");
        faults.extend(broken.map(ToString::to_string));
    }
    for (at, block) in page.blocks.iter().enumerate() {
        if block.language == "yaml" && block.has("invalid") {
            let shown = page
                .blocks
                .get(at + 1)
                .filter(|next| next.language == "text");
            faults.extend(whole.miss(page, block, shown));
        }
    }
    faults
}

/// What is wrong with the manifests of a folder.
///
/// # Errors
///
/// If a file cannot be read.
pub fn faults_of_files<'p>(
    files: impl IntoIterator<Item = &'p Path>,
) -> anyhow::Result<Vec<String>> {
    let mut whole = Manifests::default();
    for file in files {
        whole.add(&file.display().to_string(), &std::fs::read_to_string(file)?);
    }
    Ok(whole.faults())
}

/// Resources that belong together.
#[derive(Clone, Default)]
struct Manifests {
    catalog: Catalog,
    resources: Vec<Located>,
    unread: Vec<String>,
}

impl Manifests {
    fn add(&mut self, name: &str, text: &str) {
        let manifest = read(name, text);
        self.unread
            .extend(manifest.faults.iter().map(ToString::to_string));
        for located in manifest.resources {
            self.catalog.apply(located.resource.clone());
            self.resources.push(located);
        }
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = self.unread.clone();
        for located in &self.resources {
            let key = located.resource.key();
            let Some(verdict) = key.ok().and_then(|key| self.catalog.verdict(&key)) else {
                continue;
            };
            faults.extend(verdict.faults.iter().map(|fault| located.render(fault)));
            if let Err(reason) = &verdict.resolved_refs {
                faults.push(located.render(&Invalid::new("spec", reason.clone())));
            }
        }
        faults
    }

    /// What is wrong with a block that must be refused, beside the rest of its page.
    fn miss(&self, page: &Page, block: &Block, shown: Option<&Block>) -> Option<String> {
        let place = format!("{}:{}", page.path, block.line);
        let mut with = self.clone();
        with.add(&page.path, &at_its_line(block));
        let said = with.faults().join("\n");
        match shown {
            None => Some(format!("{place}: no text block follows with the refusal")),
            Some(shown) if !said.is_empty() && fits(&shown.text, &said) => None,
            Some(shown) => Some(format!(
                "{place}: shown is\n{}but it says\n{said}",
                shown.text
            )),
        }
    }
}

fn yaml(page: &Page) -> impl Iterator<Item = &Block> {
    page.blocks.iter().filter(|block| block.language == "yaml")
}

/// The block's text after as many empty lines as come before it, so that faults name lines of the page.
fn at_its_line(block: &Block) -> String {
    format!("{}{}", "\n".repeat(block.line), block.text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::blocks;

    const SERVICE: &str = "```yaml\napiVersion: v1\nkind: Service\nmetadata: { name: a }\n\
        spec: { selector: { app: a }, ports: [{ name: http, port: 80 }] }\n```\n";
    const POLICY: &str = "apiVersion: mesh.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: { name: a }\n\
        spec: { targetRefs: [{ kind: Service, name: a }], timeout: { request: soon } }\n```\n";

    fn faults(text: &str) -> Vec<String> {
        let page = Page {
            path: "page.md".into(),
            blocks: blocks(text),
        };
        faults_of_page(&page)
    }

    #[test]
    fn a_page_is_checked_as_a_whole() {
        assert_eq!(faults(SERVICE), Vec::<String>::new());
        let wrong = faults(&format!("{SERVICE}```yaml\n{POLICY}"));
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert!(wrong[0].starts_with("page.md:"), "{wrong:?}");
        assert_eq!(faults("```yaml,fragment\nspec: {}\n```\n").len(), 0);
        assert_eq!(faults("```yaml,fragment\nspec: {\n```\n").len(), 1);
    }

    #[test]
    fn what_is_shown_as_refused_must_be_refused_with_that_text() {
        let refused = |shown: &str| {
            faults(&format!(
                "{SERVICE}```yaml,invalid\n{POLICY}```text\n{shown}\n```\n"
            ))
            .len()
        };
        assert_eq!(refused("... \"soon\" is not a duration ..."), 0);
        assert_eq!(refused("something else"), 1);
        let nothing_wrong = SERVICE.replace("```yaml", "```yaml,invalid") + "```text\n...\n```\n";
        assert_eq!(faults(&nothing_wrong).len(), 1);
    }
}
