//! `mcpctl diff`: what `apply` would change.
use mcpctl_core::manifest;
use serde_json::Map;
use similar::TextDiff;

use super::InProject;
use crate::failure::{Done, FAILED, Failure};
use crate::manifests::{self, Document, Sources};
use crate::out;
use crate::session::{Global, Session};

/// Shows what `apply` would change; exits 1 when that is anything
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mcpctl diff -f web.yaml
  mcpctl diff -f manifests/ && echo nothing to do")]
pub struct Diff {
    #[command(flatten)]
    sources: Sources,
    #[command(flatten)]
    project: InProject,
}

impl Diff {
    pub async fn run(self, global: &Global) -> Done {
        let session = global.session()?;
        let mut differs = false;
        for document in self.sources.read(&session, self.project.name())? {
            let text = difference(&session, &document).await?;
            differs |= !text.is_empty();
            out::print(&text)?;
        }
        if differs { Err(Failure::silent(FAILED)) } else { Ok(()) }
    }
}

async fn difference(session: &Session, document: &Document) -> Done<String> {
    let target = &document.target;
    let live = match session.client.get(target).await {
        Ok(full) => manifests::normal_of_full(target.kind, &full),
        Err(error) if error.is_not_found() => Map::new(),
        Err(error) => return Err(Failure::from(error).about(&target.to_string())),
    };
    for field in manifests::write_only(target.kind, &document.fields) {
        out::note(&format!("note: {field} of {target} can't be compared: it is never given back"));
    }
    Ok(unified(&yaml(&live), &yaml(&document.normal), &target.to_string()))
}

fn yaml(fields: &Map<String, serde_json::Value>) -> String {
    if fields.is_empty() { String::new() } else { manifest::to_yaml(fields) }
}

/// A unified diff; empty when both are the same.
pub fn unified(live: &str, asked: &str, title: &str) -> String {
    let (from, to) = (format!("live/{title}"), format!("asked/{title}"));
    TextDiff::from_lines(live, asked).unified_diff().context_radius(3).header(&from, &to).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_have_no_difference_and_others_a_unified_one() {
        assert_eq!(unified("a: 1\n", "a: 1\n", "server/x"), "");
        let text = unified("a: 1\nb: 2\n", "a: 1\nb: 3\n", "server/x");
        assert_eq!(text, "--- live/server/x\n+++ asked/server/x\n@@ -1,2 +1,2 @@\n a: 1\n-b: 2\n+b: 3\n");
    }
}
