//! `mcpctl describe`: everything about one object. Nothing in here knows a kind.
use mcpctl_api::client::Target;
use mcpctl_api::wire::HistoryItem;
use mcpctl_core::kinds::Kind;
use serde_json::{Map, Value};

use super::get::no_past_instances;
use super::history::events;
use super::question::failed;
use super::{AsOf, InProject};
use crate::failure::{Done, Failure};
use crate::noun::{Named, Noun, target};
use crate::session::{Global, Session};
use crate::tree::tree;
use crate::{completion, manifests, out};

/// Most events that are shown; `mcpctl history` has all.
const EVENTS_SHOWN: usize = 10;

/// Shows everything about an object: fields, state, who uses it, what happened to it
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mcpctl describe server everything
  mcpctl describe mcptoken ci -p web
  mcpctl describe secret ha-token --show-values
  mcpctl describe user alice@example.com --at 2026-11-01")]
pub struct Describe {
    /// Kind and name, or KIND/NAME
    #[arg(required = true, value_name = "KIND NAME", add = completion::objects())]
    words: Vec<String>,
    #[command(flatten)]
    project: InProject,
    #[command(flatten)]
    then: AsOf,
    /// Shows the values of a secret, to those who may see them; the look is recorded
    #[arg(long, conflicts_with = "at")]
    show_values: bool,
}

impl Describe {
    pub async fn run(self, global: &Global) -> Done {
        let all = Named::parse(&self.words)?;
        if all.iter().all(|named| named.names.is_empty()) {
            return Err(Failure::usage("no name is given").hint("KIND NAME, or KIND/NAME"));
        }
        let session = global.session()?;
        let mut texts = Vec::new();
        for named in all {
            for name in &named.names {
                texts.push(match named.noun {
                    Noun::Kind(kind) => {
                        self.object(&session, &target(&session, kind, name, self.project.name())?).await?
                    }
                    Noun::Instance if self.then.at.is_some() => return Err(no_past_instances()),
                    Noun::Instance => instance(&session, name).await?,
                    Noun::Gateway => {
                        return Err(Failure::usage("a gateway has no more to say than the list shows")
                            .hint("mcpctl get gateways"));
                    }
                });
            }
        }
        out::print(&texts.join("\n"))
    }

    async fn object(&self, session: &Session, target: &Target) -> Done<String> {
        let mut full = session.client.get_at(target, self.then.point()).await.map_err(failed)?;
        if self.show_values {
            if target.kind != Kind::Secret {
                return Err(Failure::usage("--show-values is for secrets").hint("leave it out"));
            }
            full.insert("data".into(), session.client.secret_values(&target.name).await?.into());
        } else {
            mask(target.kind, &mut full);
        }
        let mut text = tree(&full);
        // Whoever may view an object need not be allowed to see its past.
        if let Ok(history) = session.client.history(target, self.then.point()).await {
            text.push_str(&recent(&history.items));
        }
        Ok(text)
    }
}

/// What is write-only is not given back; that it is there is worth a line.
fn mask(kind: Kind, full: &mut Map<String, Value>) {
    for name in manifests::write_only(kind, full) {
        full.insert(name, "<hidden>".into());
    }
}

async fn instance(session: &Session, name: &str) -> Done<String> {
    let all = session.client.instances(None).await?.items;
    match all.iter().find(|instance| instance.name == name) {
        Some(found) => Ok(tree(serde_json::to_value(found).unwrap_or_default().as_object().unwrap_or(&Map::new()))),
        None => {
            let known: Vec<&str> = all.iter().map(|instance| instance.name.as_str()).collect();
            Err(crate::noun::unknown("instance", name, &known))
        }
    }
}

fn recent(items: &[HistoryItem]) -> String {
    let shown = &items[items.len().saturating_sub(EVENTS_SHOWN)..];
    if shown.is_empty() { String::new() } else { format!("Events:\n{}", events(shown).render_with("  ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_that_is_write_only_is_shown() {
        let mut full = json!({"kind": "secret", "name": "s", "data": {"k": "hunter2"}}).as_object().unwrap().clone();
        mask(Kind::Secret, &mut full);
        assert!(!tree(&full).contains("hunter2"));
    }
}
