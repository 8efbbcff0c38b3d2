//! What a client is told first: `initialize` in the legacy era, `server/discover` in the modern one, of all servers at once.
use futures::future::join_all;
use mcpctl_api::plane::{ProjectView, ServerView};
use mcpctl_api::upstream::Handshake;
use serde_json::value::RawValue;

use crate::aggregate::cacheable;
use crate::context::Context;
use crate::dialect::{SERVER_INFO, versions_json};
use crate::json::{Members, Object, quoted, raw};
use crate::left_out::ask_within;

/// Longest instructions of one server that are passed on, in characters.
const INSTRUCTIONS_CHARS_MAX: usize = 16_384;
/// How long what `server/discover` says may be kept.
const TTL_MS: u64 = 10_000;

/// The result of `initialize`, or of `server/discover`.
pub(crate) async fn open(context: &Context) -> Box<RawValue> {
    let reach = |server| ask_within(context, server, async { Ok(context.reach(server).await?.0.handshake().clone()) });
    let said = join_all(context.servers().iter().map(reach)).await;
    let capabilities = capabilities(&said);
    let project = &context.admission.project;
    let mut result = Object::with_capacity(512);
    if context.dialect.is_modern() {
        result.json("supportedVersions", &versions_json()).json("capabilities", &capabilities);
    } else {
        result.text("protocolVersion", context.dialect.version).json("capabilities", &capabilities);
        result.json("serverInfo", SERVER_INFO);
    }
    if let Some(text) = instructions(project, project.servers.iter().zip(&said)) {
        result.text("instructions", &text);
    }
    if context.dialect.is_modern() {
        cacheable(&mut result, TTL_MS);
    }
    raw(result.finish())
}

/// The project's instructions, then those of each server under its name.
fn instructions<'a>(
    project: &ProjectView,
    servers: impl Iterator<Item = (&'a ServerView, &'a Option<Handshake>)>,
) -> Option<String> {
    let mut parts: Vec<String> = project.instructions.iter().cloned().collect();
    let alone = project.servers.len() == 1;
    for (server, said) in servers {
        let Some(text) = said.as_ref().and_then(|said| said.instructions.as_deref()) else { continue };
        let text: String = text.chars().take(INSTRUCTIONS_CHARS_MAX).collect();
        parts.push(if alone { text } else { format!("[{}] {text}", server.name) });
    }
    (!parts.is_empty()).then(|| parts.join("\n\n"))
}

/// What a client may ask for: what any server has. Of a server that did not answer nobody knows, so everything: a client
/// that heard of no prompts would never ask for them again.
fn capabilities(said: &[Option<Handshake>]) -> String {
    let each: Vec<Members<'_>> =
        said.iter().flatten().filter_map(|said| said.capabilities.as_deref()).map(Members::of).collect();
    let unknown = said.iter().any(Option::is_none);
    let any = |name: &str| unknown || each.iter().any(|one| one.get(name).is_some());
    let mut object = Object::new();
    if any("tools") || each.is_empty() {
        object.json("tools", "{\"listChanged\":true}");
    }
    if any("prompts") {
        object.json("prompts", "{\"listChanged\":true}");
    }
    if any("resources") {
        let subscribe = |one: &Members<'_>| {
            one.get("resources").and_then(|raw| Members::of(raw).get("subscribe")).is_some_and(|v| v.get() == "true")
        };
        let subscribe = unknown || each.iter().any(subscribe);
        object.json("resources", &format!("{{\"subscribe\":{subscribe},\"listChanged\":true}}"));
    }
    for name in ["completions", "logging"].into_iter().filter(|name| any(name)) {
        object.json(name, "{}");
    }
    match (said, each.as_slice()) {
        ([_], [only]) => passed_on(&mut object, only),
        _ => {
            ["extensions", "experimental"].into_iter().for_each(|name| united(&mut object, name, &each));
            tasks_of(&mut object, &each);
        }
    }
    object.finish()
}

/// Tasks of 2025-11-25, of any server that has them: a client looks at each tool whether it takes them. Who began which is known
/// here, so the list is the gateway's own.
fn tasks_of(object: &mut Object, each: &[Members<'_>]) {
    let all: Vec<Members<'_>> = each.iter().filter_map(|one| one.get("tasks")).map(Members::of).collect();
    if all.is_empty() {
        return;
    }
    let of_calls = |one: &Members<'_>| {
        let tools = one.get("requests").and_then(|raw| Members::of(raw).get("tools"));
        tools.is_some_and(|raw| Members::of(raw).get("call").is_some())
    };
    let mut tasks = Object::new();
    tasks.json("list", "{}");
    if all.iter().any(|one| one.get("cancel").is_some()) {
        tasks.json("cancel", "{}");
    }
    if all.iter().any(of_calls) {
        tasks.json("requests", r#"{"tools":{"call":{}}}"#);
    }
    object.json("tasks", &tasks.finish());
}

/// Of a server that is alone, everything else that it says: methods that the gateway does not know reach it too.
fn passed_on(object: &mut Object, only: &Members<'_>) {
    const KNOWN: [&str; 5] = ["tools", "prompts", "resources", "completions", "logging"];
    object.members(only.iter().filter(|(name, _)| !KNOWN.contains(name)));
}

/// All entries of a map that several servers have; of equal ones the first.
fn united(object: &mut Object, name: &str, each: &[Members<'_>]) {
    let mut all: Vec<(String, &RawValue)> = Vec::new();
    for one in each.iter().filter_map(|one| one.get(name)) {
        for (key, value) in Members::of(one).iter() {
            if !all.iter().any(|(known, _)| known == key) {
                all.push((key.to_owned(), value));
            }
        }
    }
    if !all.is_empty() {
        let entries: Vec<String> = all.iter().map(|(key, value)| format!("{}:{}", quoted(key), value.get())).collect();
        object.json(name, &format!("{{{}}}", entries.join(",")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mcpctl_api::upstream::Era;

    fn said(capabilities: &str) -> Option<Handshake> {
        Some(Handshake {
            era: Era::Legacy,
            version: "2025-11-25".into(),
            server_info: None,
            capabilities: Some(raw(capabilities.into()).into()),
            instructions: None,
        })
    }

    #[test]
    fn a_client_may_ask_for_what_any_server_has() {
        let merged = capabilities(&[
            said(r#"{"tools":{},"extensions":{"a/x":{"v":1}}}"#),
            said(r#"{"resources":{"subscribe":true},"extensions":{"a/x":{"v":2},"b/y":{}}}"#),
        ]);
        assert_eq!(
            merged,
            r#"{"tools":{"listChanged":true},"resources":{"subscribe":true,"listChanged":true},"extensions":{"a/x":{"v":1},"b/y":{}}}"#
        );
    }

    #[test]
    fn a_server_that_did_not_answer_may_have_anything() {
        let merged = capabilities(&[said(r#"{"tools":{}}"#), None]);
        for name in ["tools", "prompts", "resources", "completions", "logging"] {
            assert!(merged.contains(&format!("\"{name}\"")), "{name} in {merged}");
        }
    }

    #[test]
    fn what_a_lone_server_says_beyond_what_is_known_is_passed_on() {
        let merged = capabilities(&[said(r#"{"tools":{},"tasks":{"list":{}}}"#)]);
        assert_eq!(merged, r#"{"tools":{"listChanged":true},"tasks":{"list":{}}}"#);
    }

    #[test]
    fn tasks_of_several_servers_are_said_once() {
        let merged = capabilities(&[
            said(r#"{"tools":{},"tasks":{"list":{},"requests":{"tools":{"call":{}}}}}"#),
            said(r#"{"tools":{},"tasks":{"cancel":{},"requests":{"vendor":{}}}}"#),
            said(r#"{"tools":{}}"#),
        ]);
        let tasks = r#""tasks":{"list":{},"cancel":{},"requests":{"tools":{"call":{}}}}"#;
        assert_eq!(merged, format!(r#"{{"tools":{{"listChanged":true}},{tasks}}}"#));
        assert!(!capabilities(&[said(r#"{"tools":{}}"#), said(r#"{"tools":{}}"#)]).contains("tasks"));
    }
}
