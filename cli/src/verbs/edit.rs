//! `mcpctl edit`: changes one object in the user's editor.
use std::path::{Path, PathBuf};
use std::process::Stdio;

use mcpctl_api::client::{ClientError, Target, Write};
use mcpctl_core::manifest;
use serde_json::{Map, Value};

use super::InProject;
use super::diff::unified;
use crate::failure::{Done, Failure, file};
use crate::manifests::{self, Document};
use crate::session::{Global, Session};
use crate::{completion, noun, out};

/// Opens an object's manifest in your editor, and applies what you save
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mcpctl edit server everything
  EDITOR='code --wait' mcpctl edit project web

The editor is VISUAL, else EDITOR, else vi. When the object changed meanwhile, nothing is overwritten: your text is
kept, and you can go on with it.")]
pub struct Edit {
    /// Kind and name, or KIND/NAME
    #[arg(required = true, value_name = "KIND NAME", add = completion::objects())]
    words: Vec<String>,
    #[command(flatten)]
    project: InProject,
}

impl Edit {
    pub async fn run(self, global: &Global) -> Done {
        let session = global.session()?;
        for target in noun::targets(&session, &self.words, self.project.name())? {
            edit(&session, &target).await?;
        }
        Ok(())
    }
}

/// What came of one round with the editor.
enum Round {
    Unchanged,
    Changed(String),
}

/// A text that did not get through, and why.
struct Setback {
    failure: Failure,
    conflict: bool,
}

async fn edit(session: &Session, target: &Target) -> Done {
    let mut full = session.client.get(target).await?;
    let mut draft = Draft::new(target, &yaml(target, &full))?;
    loop {
        draft.open().await?;
        match round(session, target, &full, &draft).await {
            Ok(Round::Unchanged) => return out::print(&format!("{target} unchanged\n")),
            Ok(Round::Changed(outcome)) => return out::print(&format!("{target} {outcome}\n")),
            Err(setback) => {
                setback.failure.report();
                if !ask_again().await {
                    return Err(draft.keep());
                }
                if setback.conflict {
                    full = show_current(session, target, &full).await?;
                }
            }
        }
    }
}

fn yaml(target: &Target, full: &Map<String, Value>) -> String {
    manifest::to_yaml(&manifests::of_full(target.kind, full))
}

async fn round(session: &Session, target: &Target, full: &Map<String, Value>, draft: &Draft) -> Result<Round, Setback> {
    let setback = |failure| Setback { failure, conflict: false };
    let text = draft.text().map_err(setback)?;
    if text == yaml(target, full) || text.trim().is_empty() {
        return Ok(Round::Unchanged);
    }
    let document = read(session, target, &text).map_err(setback)?;
    let applied = session.client.apply(target, document.fields, manifests::version_of(full), Write::Real).await;
    let changed =
        applied.map_err(|error: ClientError| Setback { conflict: error.is_conflict(), failure: error.into() })?;
    Ok(Round::Changed(changed.outcome))
}

fn read(session: &Session, target: &Target, text: &str) -> Done<Document> {
    let mut documents = manifest::documents(text).map_err(|violation| Failure::new(violation.message))?;
    if documents.len() != 1 {
        return Err(Failure::new(format!("there are {} documents, and one is edited", documents.len())));
    }
    let document = Document::read(session, documents.remove(0), target.project.as_deref(), target.to_string())?;
    if document.target == *target {
        Ok(document)
    } else {
        Err(Failure::new(format!("{target} became {}", document.target))
            .hint("kind, name and project can't be edited: create another, and delete this one"))
    }
}

/// The version to go on from, and what changed since the one that was opened.
async fn show_current(session: &Session, target: &Target, opened: &Map<String, Value>) -> Done<Map<String, Value>> {
    let current = session.client.get(target).await?;
    let difference = unified(&yaml(target, opened), &yaml(target, &current), &target.to_string());
    out::note(&format!("Meanwhile it changed like this; saving your text undoes what it does not say:\n{difference}"));
    Ok(current)
}

async fn ask_again() -> bool {
    if !out::can_ask() {
        return false;
    }
    out::note("Open it again? [Y/n]");
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map(|read| (read, line))
    });
    matches!(read.await, Ok(Ok((read, line))) if read > 0 && !line.trim().to_ascii_lowercase().starts_with('n'))
}

/// The file that is edited; gone when this is dropped, unless it was kept.
struct Draft {
    file: Option<tempfile::NamedTempFile>,
}

impl Draft {
    /// Readable for its owner only, as tempfile makes them.
    fn new(target: &Target, text: &str) -> Done<Self> {
        use std::io::Write;
        let prefix = format!("mcpctl-{}-", target.to_string().replace('/', "-"));
        let made = tempfile::Builder::new().prefix(&prefix).suffix(".yaml").tempfile();
        let mut made = made.map_err(|error| file("can't write in", &std::env::temp_dir(), &error))?;
        made.write_all(text.as_bytes())
            .and_then(|()| made.flush())
            .map_err(|error| file("can't write", made.path(), &error))?;
        Ok(Self { file: Some(made) })
    }

    fn path(&self) -> &Path {
        self.file.as_ref().map_or_else(|| Path::new(""), |file| file.path())
    }

    fn text(&self) -> Done<String> {
        std::fs::read_to_string(self.path()).map_err(|error| file("can't read", self.path(), &error))
    }

    /// Through the shell, because EDITOR may hold arguments; the path is an argument of its own, whatever is in it.
    async fn open(&self) -> Done {
        let editor = ["VISUAL", "EDITOR"]
            .iter()
            .find_map(|name| std::env::var(name).ok().filter(|text| !text.trim().is_empty()));
        let editor = editor.unwrap_or_else(|| "vi".to_owned());
        let mut command = tokio::process::Command::new("sh");
        command
            .arg("-c")
            .arg(format!("{editor} \"$1\""))
            .arg("sh")
            .arg(self.path())
            .stdin(Stdio::inherit())
            .kill_on_drop(true);
        let status =
            command.status().await.map_err(|error| Failure::new(format!("the editor can't be started: {error}")))?;
        if status.success() {
            Ok(())
        } else {
            Err(Failure::new(format!("the editor {editor:?} ended with {status}; nothing was changed"))
                .hint("set EDITOR to the editor that you want"))
        }
    }

    /// Leaves the file where it is, and says so.
    fn keep(&mut self) -> Failure {
        let kept: Option<PathBuf> = self.file.take().and_then(|file| file.into_temp_path().keep().ok());
        match kept {
            Some(path) => Failure::new("your text was not applied")
                .hint(format!("it is kept: mcpctl apply -f {}", path.display())),
            None => Failure::new("your text was not applied, and could not be kept"),
        }
    }
}
