//! `mcpctl diff`: what `apply` would change, or what differs between two points of the past.
use std::path::PathBuf;

use mcpctl_api::access_wire::PointDiff;
use mcpctl_api::client::DiffQuestion;
use mcpctl_core::manifest;
use serde_json::Map;
use similar::TextDiff;

use super::InProject;
use super::history::CHANGES_SHOWN;
use super::question::{exit_unless, failed, shown, turns, who};
use crate::failure::{Done, Failure};
use crate::format::{self, Plain};
use crate::manifests::{self, Document, Sources};
use crate::out;
use crate::session::{Global, Session};
use crate::table::Table;

/// Shows what `apply` would change, or what differs between two points of the past; exits 1 when that is anything
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mcpctl diff -f web.yaml
  mcpctl diff -f manifests/ && echo nothing to do
  mcpctl diff --from \"7 days ago\"
  mcpctl diff --from 2026-11-01 --to 2026-11-21 --subject alice@example.com
  mcpctl diff --from 1207 --to 1300 --kind servers -o json

Between two points it lists the objects that differ and, apart from them, who gained and lost what, each with the event
and whose it was. A point is a seq, a moment or a time ago.")]
pub struct Diff {
    /// File, folder, or - for the standard input; repeatable
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR|-", required_unless_present = "from")]
    #[arg(conflicts_with = "from", value_hint = clap::ValueHint::AnyPath)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    project: InProject,
    #[command(flatten)]
    points: Points,
}

/// Two points, and what of the difference.
#[derive(Clone, Debug, clap::Args)]
struct Points {
    /// The earlier point
    #[arg(long, value_name = "SEQ|TIME")]
    from: Option<String>,
    /// The later one; without it, now
    #[arg(long, value_name = "SEQ|TIME", requires = "from")]
    to: Option<String>,
    /// Only the access of this subject, and what names it
    #[arg(long, value_name = "SUBJECT", requires = "from", add = crate::completion::subjects())]
    subject: Option<String>,
    /// Only objects of this kind, and rights on them
    #[arg(long, value_name = "KIND", requires = "from", add = crate::completion::objects())]
    kind: Option<String>,
    /// How to print the difference of two points
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "table")]
    output: Plain,
}

impl Diff {
    pub async fn run(self, global: &Global) -> Done {
        let session = global.session()?;
        if let Some(from) = self.points.from.clone() {
            return self.points.differ(&session, from).await;
        }
        let mut differs = false;
        for document in (Sources { files: self.files }).read(&session, self.project.name())? {
            let text = difference(&session, &document).await?;
            differs |= !text.is_empty();
            out::print(&text)?;
        }
        exit_unless(!differs)
    }
}

impl Points {
    async fn differ(self, session: &Session, from: String) -> Done {
        let asked = DiffQuestion { from, to: self.to, subject: self.subject, kind: self.kind };
        let told = session.client.diff(&asked).await.map_err(failed)?;
        out::print(&shown(&told, self.output, between))?;
        if !told.complete {
            out::note("note: there is more, which you may not view or which does not fit");
        }
        exit_unless(told.objects.is_empty() && told.access.is_empty())
    }
}

fn between(told: &PointDiff) -> String {
    let point = |seq, at| format!("seq {seq} ({})", format::moment(at));
    let mut text = format!("from {} to {}\n", point(told.from, told.from_at), point(told.to, told.to_at));
    if !told.objects.is_empty() {
        let mut table = Table::new(["OBJECT", "CHANGE", "SEQ", "WHEN", "BY", "CHANGES"]);
        for change in &told.objects {
            table.row(vec![
                change.object.clone(),
                change.change.clone(),
                change.last.seq.to_string(),
                format::moment(change.last.at),
                who(&change.last),
                format::shortened(&change.changes.join("; "), CHANGES_SHOWN),
            ]);
        }
        text.push_str(&format!("\nObjects:\n{}", table.render_with("  ")));
    }
    if !told.access.is_empty() {
        text.push_str(&format!("\nAccess:\n{}", turns(&told.access).render_with("  ")));
    }
    text
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
