//! `mcpctl revoke`: ends a token for good, and says when it was dead everywhere.
use mcpctl_api::client::{Patience, Target};
use mcpctl_api::wire::{Done as Answer, Fenced};
use mcpctl_core::ids::Seq;
use mcpctl_core::kinds::Kind;
use serde_json::json;

use super::InProject;
use crate::failure::{Done, Failure};
use crate::format;
use crate::session::Global;
use crate::{completion, noun, out};

/// Ends tokens for good; their rows stay, and say when
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  mcpctl revoke mcptoken ci -p web
  mcpctl revoke mcptoken/web/ci
  mcpctl revoke mcptoken ci -p web --no-wait
  mcpctl revoke mcptoken ci -p web -o json

It answers when no gateway serves the token any more and what it ran has ended: in milliseconds, and after at most
0.8 s when a gateway can't be reached. --no-wait answers when the revocation is recorded.")]
pub struct Revoke {
    /// `mcptoken` and names, or mcptoken/NAME
    #[arg(required = true, value_name = "mcptoken NAME", add = completion::objects())]
    words: Vec<String>,
    #[command(flatten)]
    project: InProject,
    /// Waits until the tokens are dead everywhere; so it does without saying
    #[arg(long, conflicts_with = "no_wait")]
    wait: bool,
    /// Answers when it is recorded, for scripts that must not block
    #[arg(long)]
    no_wait: bool,
    /// `json`: one object per token
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl Revoke {
    pub async fn run(self, global: &Global) -> Done {
        let session = global.session()?;
        let targets = noun::targets(&session, &self.words, self.project.name())?;
        if let Some(other) = targets.iter().find(|target| target.kind != Kind::McpToken) {
            let kind = other.kind;
            return Err(Failure::usage(format!("a {kind} can't be revoked"))
                .hint(format!("tokens can; see `mcpctl delete {kind}`")));
        }
        let patience = if self.no_wait { Patience::None } else { Patience::UntilDead };
        for target in targets {
            let revoked = session.client.revoke(&target, patience).await;
            let done = revoked.map_err(|error| Failure::from(error).about(&target.to_string()))?;
            match self.output {
                Output::Text => out::print(&format!("{target} {}\n", words(&done)))?,
                Output::Json => out::print(&format::json(&object(&target, &done)))?,
            }
        }
        Ok(())
    }
}

fn object(target: &Target, done: &Answer) -> serde_json::Value {
    let mut fields = json!({ "kind": target.kind, "name": target.name, "project": target.project });
    if let (Some(into), Ok(serde_json::Value::Object(said))) = (fields.as_object_mut(), serde_json::to_value(done)) {
        into.extend(said);
    }
    fields
}

/// `revoked at seq 812 · 3 gateways: 2 acked in 4 ms, 1 lease ran out after 640 ms · 2 live streams cut`.
fn words(done: &Answer) -> String {
    let Seq(seq) = done.seq;
    if done.outcome == "unchanged" {
        return "was revoked before".to_owned();
    }
    let mut text = format!("revoked at seq {seq}");
    let Some(fenced) = &done.revocation else { return text };
    text.push_str(" · ");
    text.push_str(&gateways(fenced));
    if fenced.streams_closed > 0 {
        text.push_str(&format!(" · {} cut", count(fenced.streams_closed, "live stream")));
    }
    text
}

fn gateways(fenced: &Fenced) -> String {
    let mut parts = Vec::new();
    if fenced.acked > 0 {
        parts.push(format!("{} acked in {} ms", fenced.acked, fenced.acked_ms));
    }
    if fenced.lease_expired > 0 {
        let leases = count(fenced.lease_expired.into(), "lease");
        parts.push(format!("{leases} ran out after {} ms", fenced.took_ms));
    }
    match fenced.gateways {
        0 => "no gateway held it".to_owned(),
        all => format!("{}: {}", count(all.into(), "gateway"), parts.join(", ")),
    }
}

fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(revocation: Option<Fenced>) -> Answer {
        Answer { outcome: "changed".to_owned(), seq: Seq(812), revocation, also: Vec::new() }
    }

    #[test]
    fn what_was_waited_for_is_said_in_one_line() {
        let mut fenced = Fenced {
            seq: Seq(812),
            gateways: 3,
            acked: 2,
            acked_ms: 4,
            lease_expired: 1,
            streams_closed: 2,
            took_ms: 640,
        };
        assert_eq!(
            words(&done(Some(fenced.clone()))),
            "revoked at seq 812 · 3 gateways: 2 acked in 4 ms, 1 lease ran out after 640 ms · 2 live streams cut"
        );
        (fenced.gateways, fenced.acked, fenced.streams_closed) = (1, 0, 1);
        assert_eq!(
            words(&done(Some(fenced))),
            "revoked at seq 812 · 1 gateway: 1 lease ran out after 640 ms · 1 live stream cut"
        );
        assert_eq!(words(&done(Some(Fenced::default()))), "revoked at seq 812 · no gateway held it");
        assert_eq!(words(&done(None)), "revoked at seq 812");
    }
}
