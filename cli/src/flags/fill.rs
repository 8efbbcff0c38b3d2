//! From flags to a manifest.
use std::io::Read;
use std::path::Path;

use clap::ArgMatches;
use mcpctl_core::access::RoleBinding;
use mcpctl_core::kinds::{Kind, SubjectRef};
use serde_json::{Map, Value, json};

use super::field::{Field, Form, fields};
use super::path;
use crate::failure::{Done, Failure, file};
use crate::out;

/// Most bytes that a value from a file or the standard input may have.
const VALUE_BYTES_MAX: u64 = 1024 * 1024;

/// The manifest that the flags of `create KIND` say. What is not said is left to the control plane.
pub fn manifest_of(kind: Kind, matches: &ArgMatches) -> Done<Map<String, Value>> {
    let mut manifest = Map::new();
    manifest.insert("kind".into(), kind.names().singular.into());
    manifest.insert("name".into(), one(matches, "NAME").unwrap_or_default().into());
    for field in fields(kind) {
        if let Some(value) = value_of(&field, matches)? {
            manifest.insert(field.name, value);
        }
    }
    all(matches, "set").iter().try_for_each(|text| path::set(&mut manifest, text))?;
    Ok(manifest)
}

fn value_of(field: &Field, matches: &ArgMatches) -> Done<Option<Value>> {
    let id = field.name.as_str();
    Ok(match &field.form {
        Form::Text | Form::Choice(_) => one(matches, id).map(|text| as_known(&field.form, text).into()),
        Form::Number => matches.get_one::<i64>(id).map(|number| json!(number)),
        Form::Switch => matches.get_flag(id).then_some(Value::Bool(true)),
        Form::Texts => listed(all(matches, id)),
        Form::Argv => listed(argv(matches, id)),
        Form::Variables => variables(field, matches)?,
        Form::Values => values(field, matches)?,
        Form::Hidden => {
            matches.get_flag(&format!("{id}-stdin")).then(|| stdin_line(id)).transpose()?.map(Value::String)
        }
        Form::Subjects => short_forms::<SubjectRef>(field, matches)?,
        Form::Bindings => short_forms::<RoleBinding>(field, matches)?,
    })
}

fn one(matches: &ArgMatches, id: &str) -> Option<String> {
    matches.get_one::<String>(id).cloned()
}

fn all(matches: &ArgMatches, id: &str) -> Vec<String> {
    matches.get_many::<String>(id).into_iter().flatten().cloned().collect()
}

/// Any case is taken; the control plane wants its own.
fn as_known(form: &Form, text: String) -> String {
    let Form::Choice(words) = form else { return text };
    words.iter().map(|(word, _)| word).find(|word| word.eq_ignore_ascii_case(&text)).cloned().unwrap_or(text)
}

fn listed(texts: Vec<String>) -> Option<Value> {
    (!texts.is_empty()).then(|| texts.into())
}

fn argv(matches: &ArgMatches, id: &str) -> Vec<String> {
    let mut words = all(matches, id);
    words.extend(all(matches, &format!("{id}-rest")));
    if let [program] = words.as_slice()
        && program.contains(' ')
        && !Path::new(program).exists()
    {
        out::note(&format!(
            "note: the program is {program:?}, with spaces in its name; without quotes each word is an argument of its own"
        ));
    }
    words
}

fn pair(flag: &str, text: &str, shape: &str) -> Done<(String, String)> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        // What stands there may be the secret itself.
        _ => Err(Failure::usage(format!("--{flag} wants {shape}"))
            .hint("there is no = in what was given, or nothing before it")),
    }
}

fn variables(field: &Field, matches: &ArgMatches) -> Done<Option<Value>> {
    let mut found = Vec::new();
    for text in all(matches, &field.name) {
        let (name, value) = pair(&field.flag(), &text, "NAME=VALUE")?;
        found.push(json!({ "name": name, "value": value }));
    }
    let flag = format!("{}-from", field.flag());
    for text in all(matches, &format!("{}-from", field.name)) {
        let (name, from) = pair(&flag, &text, "NAME=SECRET/KEY")?;
        let (secret, key) = from.split_once('/').ok_or_else(|| {
            Failure::usage(format!("--{flag} {name}=… names no key"))
                .hint("write NAME=SECRET/KEY; `mcpctl get secrets` shows the keys")
        })?;
        found.push(json!({ "name": name, "valueFrom": { "secretRef": { "name": secret, "key": key } } }));
    }
    Ok((!found.is_empty()).then_some(Value::Array(found)))
}

fn values(field: &Field, matches: &ArgMatches) -> Done<Option<Value>> {
    let (id, flag) = (&field.name, field.flag());
    let mut found = Map::new();
    let given = all(matches, id);
    if !given.is_empty() {
        out::note(&format!(
            "warning: values after --{flag} can be seen by others while this runs; use --{flag}-stdin or --{flag}-from-file"
        ));
    }
    for text in given {
        let (key, value) = pair(&flag, &text, "KEY=VALUE")?;
        put(&mut found, &flag, key, value)?;
    }
    for text in all(matches, &format!("{id}-from-file")) {
        let (key, path) = pair(&format!("{flag}-from-file"), &text, "KEY=PATH")?;
        let value = text_of(std::fs::File::open(&path), Path::new(&path))?;
        put(&mut found, &flag, key, value)?;
    }
    if let Some(key) = one(matches, &format!("{id}-stdin")) {
        let value = stdin_line(&key)?;
        put(&mut found, &flag, key, value)?;
    }
    Ok((!found.is_empty()).then_some(Value::Object(found)))
}

fn put(found: &mut Map<String, Value>, flag: &str, key: String, value: String) -> Done {
    if found.contains_key(&key) {
        return Err(Failure::usage(format!("key {key:?} of --{flag} is given twice")).hint("keep one of them"));
    }
    found.insert(key, value.into());
    Ok(())
}

fn text_of(from: std::io::Result<impl Read>, path: &Path) -> Done<String> {
    let fail = |error: &std::io::Error| file("can't read", path, error);
    let mut text = String::new();
    from.and_then(|from| from.take(VALUE_BYTES_MAX + 1).read_to_string(&mut text)).map_err(|error| fail(&error))?;
    if text.len() as u64 > VALUE_BYTES_MAX {
        return Err(Failure::new(format!("{} has more than {VALUE_BYTES_MAX} bytes", path.display())));
    }
    Ok(text)
}

/// The standard input without its last line break.
pub fn stdin_line(what: &str) -> Done<String> {
    if out::can_ask() {
        out::note(&format!("{what}: type it, then Ctrl-D on a line of its own (it is shown)"));
    }
    let mut text = text_of(Ok(std::io::stdin().lock()), Path::new("the standard input"))?;
    if text.ends_with('\n') {
        text.truncate(text.len() - 1);
        text.truncate(text.strip_suffix('\r').unwrap_or(&text).len());
    }
    if text.is_empty() { Err(Failure::usage(format!("the standard input holds no {what}"))) } else { Ok(text) }
}

fn short_forms<T: std::str::FromStr<Err = String> + serde::Serialize>(
    field: &Field,
    matches: &ArgMatches,
) -> Done<Option<Value>> {
    let read = |text: &String| match text.parse::<T>() {
        Ok(value) => Ok(serde_json::to_value(value).expect("subjects and bindings are plain data")),
        Err(why) => Err(Failure::usage(format!("--{} {text:?}: {why}", field.flag()))),
    };
    let found = all(matches, &field.name).iter().map(read).collect::<Done<Vec<Value>>>()?;
    Ok((!found.is_empty()).then_some(Value::Array(found)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(line: &str) -> Done<Value> {
        let words: Vec<&str> = line.split(' ').collect();
        let kind = Kind::from_noun(words[0]).unwrap();
        let matches = super::super::command(kind)
            .try_get_matches_from(words)
            .map_err(|error| Failure::usage(error.to_string()))?;
        manifest_of(kind, &matches).map(Value::Object)
    }

    #[test]
    fn flags_become_the_manifest_that_they_say() {
        for (line, expected) in [
            (
                "server x --command=npx --command=-y --command=pkg --env A=1 --env-from T=ha/token --replicas 2 --transport stdio",
                json!({"kind": "server", "name": "x", "transport": "STDIO", "command": ["npx", "-y", "pkg"], "replicas": 2,
                    "env": [{"name": "A", "value": "1"}, {"name": "T", "valueFrom": {"secretRef": {"name": "ha", "key": "token"}}}]}),
            ),
            (
                "server x --env A=1 -- npx -y pkg --env B",
                json!({"kind": "server", "name": "x", "command": ["npx", "-y", "pkg", "--env", "B"],
                "env": [{"name": "A", "value": "1"}]}),
            ),
            (
                "server x --external-url https://h/p --allow-private-address --set tools.deny=[a]",
                json!({"kind": "server", "name": "x",
                "externalUrl": "https://h/p", "allowPrivateAddress": true, "tools": {"deny": ["a"]}}),
            ),
            (
                "project web --server a --servers b --member c@d.e",
                json!({"kind": "project", "name": "web", "servers": ["a", "b"], "members": ["c@d.e"]}),
            ),
            (
                "rbac dev --subject User:a@b.c --roleBindings role:edit,resource:servers --roleBindings action:logs",
                json!({"kind": "rbac", "name": "dev", "subjects": [{"kind": "User", "name": "a@b.c"}],
                    "roleBindings": [{"role": "edit", "resource": "servers"}, {"role": "run", "action": "logs"}]}),
            ),
            (
                "mcptoken ci --bind role:view,resource:projects,name:web --ttl 30d --rbac clone",
                json!({"kind": "mcptoken", "name": "ci",
                "ttl": "30d", "rbac": "clone", "bindings": [{"role": "view", "resource": "projects", "name": "web"}]}),
            ),
            ("user a@b.c --display-name Alice", json!({"kind": "user", "name": "a@b.c", "displayName": "Alice"})),
        ] {
            let made = manifest(line).unwrap_or_else(|failure| panic!("{line}: {failure}"));
            assert_eq!(made, expected, "{line}");
        }
    }

    #[test]
    fn what_a_flag_can_not_mean_is_refused_with_the_reason() {
        for (line, reason) in [
            ("rbac dev --subject alice", "is not a subject"),
            ("rbac dev --roleBindings role:edit,colour:red", "unknown key"),
            ("rbac dev --roleBindings resource:servers", "`role` is missing"),
            ("server x --env novalue", "wants NAME=VALUE"),
            ("server x --env-from T=ha", "names no key"),
            ("server x --replicas many", "invalid value"),
            ("server x --transport PIGEON", "possible values"),
            ("server x --colour red", "unexpected argument"),
            ("secret s --data k=1 --data k=2", "given twice"),
        ] {
            let refused = manifest(line).expect_err(line).to_string();
            assert!(refused.contains(reason), "{line}: {refused}");
        }
    }

    #[test]
    fn a_value_that_is_refused_is_not_repeated() {
        let refused = manifest("secret s --data hunter2").unwrap_err().to_string();
        assert!(!refused.contains("hunter2"), "{refused}");
    }
}
