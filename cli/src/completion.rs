//! Values for the shell's completion: from the files at hand, and from the control plane within a second or not at all.
use std::ffi::{OsStr, OsString};
use std::time::Duration;

use clap_complete::engine::{ArgValueCandidates, ArgValueCompleter, CompletionCandidate, ValueCompleter};
use mcpctl_api::wire::TableRow;
use mcpctl_core::kinds::Kind;

use crate::home::Home;
use crate::noun::Noun;
use crate::session::Global;

/// How long somebody who pressed Tab waits.
const LIMIT: Duration = Duration::from_secs(1);

/// Names of contexts.
pub fn contexts() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let config = Home::find().and_then(|home| home.config()).unwrap_or_default();
        config.contexts.into_keys().map(CompletionCandidate::new).collect()
    })
}

/// Names of objects of a kind.
pub fn names_of(kind: Kind) -> ArgValueCompleter {
    ArgValueCompleter::new(move |current: &OsStr| starting_with(current, names(kind)))
}

/// `KIND NAME…` and `KIND/NAME…`.
pub fn objects() -> ArgValueCompleter {
    ArgValueCompleter::new(Words)
}

/// Subjects as the questions take them: e-mail addresses, `Group:…`, `ServiceAccount:…`, `McpToken:PROJECT/NAME`.
pub fn subjects() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let text = current.to_string_lossy();
        let word = |kind| match kind {
            Kind::User => Some("User:"),
            Kind::Group => Some("Group:"),
            Kind::ServiceAccount => Some("ServiceAccount:"),
            Kind::McpToken => Some("McpToken:"),
            _ => None,
        };
        let prefixes = Kind::ALL.iter().filter_map(|kind| Some((*kind, word(*kind)?)));
        let Some((kind, prefix)) = prefixes.clone().find(|(_, prefix)| text.starts_with(prefix)) else {
            let mut all = names(Kind::User);
            all.extend(prefixes.map(|(_, prefix)| prefix.to_owned()));
            return starting_with(current, all);
        };
        starting_with(current, titles(kind).into_iter().map(|name| format!("{prefix}{name}")).collect())
    })
}

struct Words;

impl ValueCompleter for Words {
    fn complete(&self, current: &OsStr) -> Vec<CompletionCandidate> {
        let text = current.to_string_lossy();
        if let Some((noun, _)) = text.split_once('/') {
            let Ok(Noun::Kind(kind)) = Noun::parse(noun) else { return Vec::new() };
            return starting_with(current, names(kind).into_iter().map(|name| format!("{noun}/{name}")).collect());
        }
        match typed()
            .iter()
            .skip(2)
            .filter(|word| *word != current)
            .find_map(|word| Noun::parse(&word.to_string_lossy()).ok())
        {
            Some(Noun::Kind(kind)) => starting_with(current, names(kind)),
            Some(Noun::Instance | Noun::Gateway) => Vec::new(),
            None => nouns(&text),
        }
    }
}

fn nouns(text: &str) -> Vec<CompletionCandidate> {
    let fits = |word: &&str| word.starts_with(text);
    let words = |kind: &Kind| {
        [kind.names().singular, kind.names().plural].into_iter().find(fits).map(|word| (word, kind.untyped().summary()))
    };
    let kinds = Kind::ALL.iter().filter_map(words);
    let derived = Some(("instance", "A running copy of a server")).filter(|(word, _)| fits(word));
    kinds.chain(derived).map(|(word, help)| CompletionCandidate::new(word).help(Some(help.into()))).collect()
}

fn starting_with(current: &OsStr, names: Vec<String>) -> Vec<CompletionCandidate> {
    let text = current.to_string_lossy();
    names.into_iter().filter(|name| name.starts_with(&*text)).map(CompletionCandidate::new).collect()
}

/// The words typed so far, `mcpctl` first: they stand after `--` when the shell asks for completion.
fn typed() -> Vec<OsString> {
    std::env::args_os().skip_while(|word| word != "--").skip(1).collect()
}

fn flag(names: [&str; 2]) -> Option<String> {
    let words = typed();
    let at = words.iter().position(|word| names.iter().any(|name| word == name))?;
    words.get(at + 1)?.to_str().map(str::to_owned)
}

fn names(kind: Kind) -> Vec<String> {
    rows(kind).into_iter().map(|row| row.name).collect()
}

/// `PROJECT/NAME` for what lives in a project.
fn titles(kind: Kind) -> Vec<String> {
    let title = |row: TableRow| match row.project {
        Some(project) => format!("{project}/{}", row.name),
        None => row.name,
    };
    rows(kind).into_iter().map(title).collect()
}

/// Silent on failure: an error message in the middle of a command line helps nobody.
fn rows(kind: Kind) -> Vec<TableRow> {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return Vec::new() };
    let asked = async {
        let context = flag(["--context", "--context"]);
        let session = Global { context, ..Global::default() }.session().ok()?;
        let project = flag(["-p", "--project"]).filter(|_| kind.scope() == mcpctl_core::resource::Scope::Project);
        let table = session.client.with_answer_limit(LIMIT).table(kind, project.as_deref()).await.ok()?;
        Some(table.rows)
    };
    runtime.block_on(async { tokio::time::timeout(LIMIT, asked).await.ok().flatten() }).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nouns_are_offered_by_what_was_typed() {
        let words = |text| nouns(text).iter().map(|c| c.get_value().to_string_lossy().into_owned()).collect::<Vec<_>>();
        assert_eq!(words("proj"), ["project"]);
        assert_eq!(words("projects"), ["projects"]);
        assert_eq!(words("").len(), Kind::ALL.len() + 1);
    }
}
