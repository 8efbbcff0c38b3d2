//! What the questions about rights have in common: how they are put, and how a chain is printed.
use mcpctl_api::access_wire::{Explanation, Link, SubjectChange, Turn};
use mcpctl_api::client::{AccessQuestion, ClientError};
use mcpctl_core::access::OPERATIONS;
use mcpctl_core::kinds::Kind;
use mcpctl_core::resource::Scope;
use serde::Serialize;

use super::InProject;
use crate::failure::{Done, Failure};
use crate::format::{self, Plain};
use crate::session::Session;
use crate::table::Table;

/// What somebody may or may not.
#[derive(Clone, Debug, clap::Args)]
pub struct What {
    /// view, create, delete, edit or run
    #[arg(value_name = "VERB")]
    verb: String,
    /// A resource as a whole or one of it; for `run` also an operation, such as logs
    #[arg(value_name = "RESOURCE[/NAME]", add = crate::completion::objects())]
    resource: String,
    #[command(flatten)]
    project: InProject,
}

/// Which state, and how to print.
#[derive(Clone, Debug, clap::Args)]
pub struct How {
    /// Asks the state after an event (its seq), or at a moment: 2026-11-21T09:30:00Z, 2026-11-21, "2 days ago"
    #[arg(long, value_name = "SEQ|TIME")]
    pub at: Option<String>,
    /// How to print it
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "table")]
    pub output: Plain,
}

impl What {
    /// The question. The context's project stands in for `-p` where the resource lives in one.
    pub fn question(&self, session: &Session, subject: Option<String>, how: &How) -> AccessQuestion {
        let at = how.at.clone();
        if self.verb == "run" && OPERATIONS.contains(&self.resource.as_str()) {
            let operation = Some(self.resource.clone());
            return AccessQuestion { subject, operation, at, ..AccessQuestion::default() };
        }
        let (resource, name) = match self.resource.split_once('/') {
            Some((resource, name)) => (resource, Some(name.to_owned())),
            None => (self.resource.as_str(), None),
        };
        let lives_in_one = Kind::from_noun(resource).is_some_and(|kind| kind.scope() == Scope::Project);
        let of_context = || session.project(None).ok().filter(|_| lives_in_one);
        AccessQuestion {
            subject,
            verb: Some(self.verb.clone()),
            resource: Some(resource.to_owned()),
            name,
            project: self.project.name().map(str::to_owned).or_else(of_context),
            operation: None,
            at,
        }
    }
}

/// What the control plane says to a question that makes no sense is wrong usage.
pub fn failed(error: ClientError) -> Failure {
    if error.status() == Some(422) { Failure::usage(error.to_string()) } else { error.into() }
}

/// The answer as asked for; a table is made only when it is wanted.
pub fn shown<T: Serialize>(answer: &T, output: Plain, table: impl FnOnce(&T) -> String) -> String {
    match output {
        Plain::Table => table(answer),
        Plain::Json => format::json(answer),
        Plain::Yaml => format::yaml(answer),
    }
}

/// The answer in a sentence, then link by link why, or line by line why not.
pub fn explained(answer: &Explanation) -> String {
    let Explanation { subject, asked, rule, seq, .. } = answer;
    let (word, verb) = if answer.allowed { ("yes", "may") } else { ("no", "may not") };
    let mut text =
        format!("{word}: {subject} {verb} {asked} (rule {rule}, seq {seq}, {})\n", format::moment(answer.at));
    if answer.allowed {
        text.push_str(&chain(&answer.chain).render_with("  "));
        return text;
    }
    for obstacle in &answer.obstacles {
        text.push_str(&format!("  {}: {}\n", obstacle.obstacle, crate::out::clean(&obstacle.says)));
    }
    for missing in &answer.missing {
        let flags = format!("--subject {} --roleBindings {}", missing.subject, missing.binding);
        text.push_str(&format!("  this would do: mcpctl create rbac NAME {flags}\n"));
    }
    text
}

/// A chain as a table.
pub fn chain(links: &[Link]) -> Table {
    let mut table = Table::new(["LINK", "WHO", "WHAT", "SEQ", "WHEN", "SOURCE", "BY"]);
    for link in links {
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        table.row(vec![
            link.link.clone(),
            link.holder.clone(),
            link.what.clone(),
            or_none(link.seq.map(|seq| seq.to_string())),
            or_none(link.at.map(format::moment)),
            or_none(link.source.clone()),
            or_none(link.by.as_ref().map(ToString::to_string)),
        ]);
    }
    table
}

/// A chain in a few words, for one row among many.
pub fn in_short(links: &[Link]) -> [String; 3] {
    let word = |link: &Link| match link.link.as_str() {
        "grant" => link.source.clone().unwrap_or_default(),
        "membership" | "owner" => link.what.clone(),
        "project" => format!("inside {}", link.what),
        _ => link.link.clone(),
    };
    let by = links.iter().filter_map(|link| link.by.as_ref()).map(ToString::to_string);
    let seqs = links.iter().filter_map(|link| link.seq).map(|seq| seq.to_string());
    let unique = |mut all: Vec<String>| {
        all.dedup();
        all.join(", ")
    };
    [links.iter().map(word).collect::<Vec<_>>().join(" → "), unique(seqs.collect()), unique(by.collect())]
}

/// Who gained and lost what, a line for each right.
pub fn turns(access: &[SubjectChange]) -> Table {
    let mut table = Table::new(["WHO", "", "RIGHT", "BY WAY OF", "EVENT", "SEQ", "WHEN", "BY"]);
    for change in access {
        let (gained, lost) = (change.gained.iter().map(|row| ("+", row)), change.lost.iter().map(|row| ("-", row)));
        for (sign, row) in gained.chain(lost) {
            let [way, ..] = in_short(&row.right.chain);
            let said = |of: &dyn Fn(&Turn) -> String| row.turn.as_ref().map_or_else(|| "-".to_owned(), of);
            table.row(vec![
                change.subject.clone(),
                sign.to_owned(),
                row.right.right.clone(),
                way,
                said(&|turn| format!("{} {}", turn.event, turn.object)),
                said(&|turn| turn.seq.to_string()),
                said(&|turn| format::moment(turn.at)),
                said(&who),
            ]);
        }
    }
    table
}

/// Whose an event was.
pub fn who(turn: &Turn) -> String {
    match &turn.on_behalf_of {
        Some(other) => format!("{} for {other}", turn.by),
        None => turn.by.to_string(),
    }
}

/// Prints nothing more and ends with 1, unless.
pub fn exit_unless(fine: bool) -> Done {
    if fine { Ok(()) } else { Err(Failure::silent(crate::failure::FAILED)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mcpctl_api::access_wire::{Missing, Obstacle};
    use mcpctl_core::actor::Actor;
    use mcpctl_core::ids::Seq;
    use mcpctl_core::time::Timestamp;

    fn answer() -> Explanation {
        let at = Timestamp::from_millis(0);
        let link = |link: &str, what: &str, seq, source: Option<&str>| Link {
            link: link.into(),
            holder: "User:a@example.com".into(),
            what: what.into(),
            seq: Some(Seq(seq)),
            at: Some(at),
            source: source.map(Into::into),
            by: Some(Actor::system("bootstrap")),
        };
        Explanation {
            subject: "User:a@example.com".into(),
            asked: "edit servers/x".into(),
            allowed: true,
            rule: "rbac".into(),
            seq: Seq(9),
            at,
            via: vec![Seq(7)],
            chain: vec![link("membership", "Group:g", 5, None), link("grant", "edit servers", 7, Some("rbac/g"))],
            obstacles: Vec::new(),
            missing: Vec::new(),
        }
    }

    #[test]
    fn a_yes_is_told_link_by_link_and_in_short() {
        let text = explained(&answer());
        assert!(text.starts_with("yes: User:a@example.com may edit servers/x (rule rbac, seq 9, "), "{text}");
        assert_eq!(text.lines().count(), 4, "{text}");
        assert_eq!(in_short(&answer().chain), ["Group:g → rbac/g", "5, 7", "system:bootstrap"]);
    }

    #[test]
    fn a_no_ends_with_the_command_that_would_change_it() {
        let obstacles = vec![Obstacle { obstacle: "no-grant".into(), says: "nothing gives it".into() }];
        let missing = vec![Missing {
            subject: "User:a@example.com".into(),
            permission: "edit servers/x".into(),
            binding: "role:edit,resource:servers,name:x".into(),
        }];
        let no = Explanation { allowed: false, chain: Vec::new(), obstacles, missing, ..answer() };
        let expected =
            "mcpctl create rbac NAME --subject User:a@example.com --roleBindings role:edit,resource:servers,name:x\n";
        assert!(explained(&no).ends_with(expected), "{}", explained(&no));
    }
}
