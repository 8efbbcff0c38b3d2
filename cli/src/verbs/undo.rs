//! What `revert` and `restore` have in common: they show what it comes to, ask, and do it.
use std::io::Write as _;

use mcpctl_api::client::{Undo, Write};
use mcpctl_api::undo_wire::Undoing;

use super::history::CHANGES_SHOWN;
use super::question::{shown, turns};
use crate::failure::{Done, FAILED, Failure};
use crate::format::{self, Plain};
use crate::out;
use crate::session::Session;
use crate::table::Table;

/// How it is done.
#[derive(Clone, Debug, clap::Args)]
pub struct How {
    /// Shows what it would come to, and changes nothing
    #[arg(long)]
    dry_run: bool,
    /// Does it without asking, for scripts
    #[arg(short = 'y', long, conflicts_with = "dry_run")]
    yes: bool,
    /// Also undoes what later events did to the same objects
    #[arg(long)]
    force: bool,
    /// How to print it
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "table")]
    output: Plain,
}

/// Shows what it comes to, and does it when that is wanted.
pub async fn run(session: &Session, undo: Undo, how: &How) -> Done {
    let foreseen = session.client.undo(&undo, Write::DryRun, how.force).await?;
    let nothing = foreseen.objects.is_empty();
    if how.dry_run || nothing || (!how.yes && how.output == Plain::Table) {
        out::print(&shown(&foreseen, how.output, told))?;
    }
    if !foreseen.complete {
        out::note("note: there are others who gain or lose access, whom you may not view");
    }
    if nothing || how.dry_run {
        return Ok(());
    }
    if !foreseen.conflicts.is_empty() && !how.force {
        return Err(
            Failure::new("it would undo more than was asked for").hint("revert the later events first, or add --force")
        );
    }
    if !how.yes && !agreed().await? {
        out::note("Nothing was changed.");
        return Err(Failure::silent(FAILED));
    }
    let done = session.client.undo(&undo, Write::Real, how.force).await?;
    out::print(&match how.output {
        Plain::Table => format!("{}: done, seq {}\n", done.reason, done.seq),
        output => shown(&done, output, told),
    })
}

/// Whether somebody who sees it says yes.
pub async fn agreed() -> Done<bool> {
    if !out::can_ask() {
        return Err(
            Failure::usage("there is nobody to ask").hint("add --yes to do it, or --dry-run to see what it does")
        );
    }
    let asked = tokio::task::spawn_blocking(|| {
        let mut answer = String::new();
        let _ = write!(std::io::stderr(), "Do it? [y/N] ");
        std::io::stdin().read_line(&mut answer).map(|_| answer)
    });
    let answer = asked.await.map_err(|error| Failure::new(error.to_string()))?;
    let answer = answer.map_err(|error| Failure::new(format!("the answer can't be read: {error}")))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

fn told(undoing: &Undoing) -> String {
    if undoing.objects.is_empty() {
        return format!("{}: nothing is to be done\n", undoing.reason);
    }
    let mut objects = Table::new(["OBJECT", "IS", "CHANGES"]);
    for object in &undoing.objects {
        let changes = format::shortened(&object.changes.join("; "), CHANGES_SHOWN);
        objects.row(vec![object.object.clone(), object.outcome.clone(), changes]);
    }
    let mut text = format!("{}\n\nObjects:\n{}", undoing.reason, objects.render_with("  "));
    match undoing.access.as_slice() {
        [] => text.push_str("\nAccess: nobody's changes\n"),
        access => text.push_str(&format!("\nAccess:\n{}", turns(access).render_with("  "))),
    }
    if !undoing.lost.is_empty() {
        text.push_str("\nDoes not come back:\n");
        undoing.lost.iter().for_each(|line| text.push_str(&format!("  {}\n", out::clean(line))));
    }
    if !undoing.conflicts.is_empty() {
        let mut conflicts = Table::new(["OBJECT", "WHY", "SINCE"]);
        for conflict in &undoing.conflicts {
            let since: Vec<String> = conflict.since.iter().map(ToString::to_string).collect();
            conflicts.row(vec![conflict.object.clone(), conflict.why.clone(), since.join(", ")]);
        }
        text.push_str(&format!("\nConflicts:\n{}", conflicts.render_with("  ")));
    }
    text
}
