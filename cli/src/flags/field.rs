//! A field of a kind as flags: which ones, and what their values look like. Decided by the shape of its schema.
use clap::{Arg, ArgAction};
use mcpctl_core::kinds::Kind;
use serde_json::Value;

use crate::completion;

/// A field that has flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name in a manifest.
    pub name: String,
    /// What it is for.
    pub help: String,
    /// How its flags read.
    pub form: Form,
    /// The kind that its values name.
    refers: Option<Kind>,
}

/// How the flags of a field read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// `--description TEXT`
    Text,
    /// `--transport STDIO|SSE`, with what each means.
    Choice(Vec<(String, String)>),
    /// `--replicas N`
    Number,
    /// `--disabled`
    Switch,
    /// `--server A --server B`
    Texts,
    /// `--command PROGRAM [ARGS…]`: up to the next flag.
    Argv,
    /// `--env K=V --env-from K=SECRET/KEY`
    Variables,
    /// `--data K=V --data-from-file K=PATH --data-stdin K`
    Values,
    /// `--password-stdin`
    Hidden,
    /// `--subject User:alice@example.com`
    Subjects,
    /// `--roleBindings role:edit,resource:servers`
    Bindings,
}

/// Fields of a kind that have flags of their own; the rest is for `--set`.
pub fn fields(kind: Kind) -> Vec<Field> {
    let schema = kind.untyped().schema();
    let properties = schema["properties"].as_object().cloned().unwrap_or_default();
    let own = |name: &str| !matches!(name, "kind" | "name" | "project");
    properties
        .iter()
        .filter(|(name, field)| own(name) && field["readOnly"] != true)
        .filter_map(|(name, field)| Field::of(name, field))
        .collect()
}

impl Field {
    fn of(name: &str, schema: &Value) -> Option<Self> {
        let form = form(name, schema)?;
        let help = schema["description"].as_str().unwrap_or_default().trim_end_matches('.').to_owned();
        let refers = schema["x-mcpctl-ref"].as_str().or_else(|| schema["items"]["x-mcpctl-ref"].as_str());
        Some(Self { name: name.to_owned(), help, form, refers: refers.and_then(Kind::from_noun) })
    }

    /// The flag: in words with dashes, for lists in the singular.
    pub fn flag(&self) -> String {
        let words = kebab(&self.name);
        match self.form {
            Form::Texts | Form::Variables | Form::Subjects | Form::Bindings => {
                words.strip_suffix('s').unwrap_or(&words).to_owned()
            }
            _ => words,
        }
    }

    /// Other spellings: the field's own, with dashes, and short ones.
    fn aliases(&self) -> Vec<String> {
        let short = if self.name == "bindings" { vec!["bind".to_owned()] } else { Vec::new() };
        let mut all: Vec<String> = [self.name.clone(), kebab(&self.name)].into_iter().chain(short).collect();
        all.retain(|alias| *alias != self.flag());
        all.dedup();
        all
    }

    /// Its flags.
    pub fn args(&self) -> Vec<Arg> {
        let flag = self.flag();
        let arg = Arg::new(self.name.clone()).long(flag.clone()).help(self.help.clone());
        let arg = match self.form {
            // Fields are spelled as in manifests only where the reference has them so.
            Form::Bindings => arg.visible_aliases(self.aliases()),
            Form::Values | Form::Hidden => arg,
            _ => arg.aliases(self.aliases()),
        };
        let arg = match self.refers {
            Some(kind) => arg.add(completion::names_of(kind)),
            None => arg,
        };
        match &self.form {
            Form::Text => vec![arg.value_name("TEXT").allow_hyphen_values(true)],
            Form::Choice(known) => vec![arg.value_name("WORD").value_parser(choices(known)).ignore_case(true)],
            Form::Number => vec![arg.value_name("N").value_parser(clap::value_parser!(i64))],
            Form::Switch => vec![arg.action(ArgAction::SetTrue)],
            Form::Texts => vec![
                arg.value_name("TEXT")
                    .action(ArgAction::Append)
                    .allow_hyphen_values(true)
                    .help(format!("{}; repeatable", self.help)),
            ],
            Form::Argv => argv(self, arg),
            Form::Variables => vec![
                arg.value_name("NAME=VALUE").action(ArgAction::Append),
                self.beside("-from", "NAME=SECRET/KEY", "The same, with the value from a key of a secret"),
            ],
            Form::Values => values(self, arg),
            Form::Hidden => vec![
                Arg::new(format!("{}-stdin", self.name))
                    .long(format!("{flag}-stdin"))
                    .action(ArgAction::SetTrue)
                    .help(format!("{}; read from the standard input, up to its end", self.help)),
            ],
            Form::Subjects => vec![
                arg.value_name("KIND:NAME")
                    .action(ArgAction::Append)
                    .help(format!("{}, such as User:alice@example.com; repeatable", self.help)),
            ],
            Form::Bindings => vec![
                arg.value_name("BINDING")
                    .action(ArgAction::Append)
                    .help("role:R,resource:X[,name:N] for a role on a resource, action:A for an operation; repeatable"),
            ],
        }
    }

    fn beside(&self, ending: &str, value: &'static str, help: &'static str) -> Arg {
        let id = format!("{}{ending}", self.name);
        Arg::new(id).long(format!("{}{ending}", self.flag())).value_name(value).action(ArgAction::Append).help(help)
    }
}

fn argv(field: &Field, arg: Arg) -> Vec<Arg> {
    let words = arg.value_name("PROGRAM [ARGS]…").action(ArgAction::Append).allow_hyphen_values(true);
    let rest = Arg::new(format!("{}-rest", field.name))
        .last(true)
        .num_args(0..)
        .value_name("ARGS")
        .help("Everything after -- goes to the program as it is");
    vec![words.help(format!("{} Ends at the next --flag of this command, or at --", sentence(&field.help))), rest]
}

fn values(field: &Field, arg: Arg) -> Vec<Arg> {
    vec![
        arg.value_name("KEY=VALUE").action(ArgAction::Append).help("A value. Others on this machine can see it while this runs, and your shell remembers it: prefer the next two"),
        field.beside("-from-file", "KEY=PATH", "A value from a file, as it is"),
        Arg::new(format!("{}-stdin", field.name)).long(format!("{}-stdin", field.flag())).value_name("KEY").help("A value from the standard input, without its last line break"),
    ]
}

fn sentence(text: &str) -> String {
    if text.ends_with('.') { text.to_owned() } else { format!("{text}.") }
}

fn choices(known: &[(String, String)]) -> clap::builder::PossibleValuesParser {
    clap::builder::PossibleValuesParser::new(known.iter().map(|(word, help)| {
        clap::builder::PossibleValue::new(word.clone()).help(help.trim_end_matches('.').to_owned())
    }))
}

fn kebab(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            text.push('-');
        }
        text.push(c.to_ascii_lowercase());
    }
    text
}

fn form(name: &str, schema: &Value) -> Option<Form> {
    let write_only = schema["writeOnly"] == true;
    match type_of(schema) {
        Some("string") if write_only => Some(Form::Hidden),
        Some("string") => Some(Form::Text),
        Some("integer" | "number") => Some(Form::Number),
        Some("boolean") => Some(Form::Switch),
        Some("object") if write_only => Some(Form::Values),
        Some("array") => list_form(name, &schema["items"]),
        Some(_) => None,
        None => choice(schema).map(Form::Choice),
    }
}

fn list_form(name: &str, items: &Value) -> Option<Form> {
    let has = |schema: &Value, field: &str| schema["properties"].get(field).is_some();
    let any = |list: &str, field: &str| items[list].as_array().is_some_and(|all| all.iter().any(|one| has(one, field)));
    if type_of(items) == Some("string") {
        return Some(if name == "command" { Form::Argv } else { Form::Texts });
    }
    match items {
        _ if has(items, "value") && has(items, "valueFrom") => Some(Form::Variables),
        _ if any("anyOf", "role") => Some(Form::Bindings),
        _ if any("oneOf", "kind") && any("oneOf", "name") => Some(Form::Subjects),
        _ => None,
    }
}

/// The type, `null` aside.
fn type_of(schema: &Value) -> Option<&str> {
    match &schema["type"] {
        Value::String(one) => Some(one),
        Value::Array(several) => several.iter().filter_map(Value::as_str).find(|name| *name != "null"),
        _ => None,
    }
}

/// The words of an enumeration, also of one that may be left out.
fn choice(schema: &Value) -> Option<Vec<(String, String)>> {
    if let Some(options) = schema["anyOf"].as_array() {
        return options.iter().find_map(choice);
    }
    let words = schema["oneOf"].as_array()?.iter().map(|option| {
        Some((option["const"].as_str()?.to_owned(), option["description"].as_str().unwrap_or_default().to_owned()))
    });
    words.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form_of(kind: Kind, name: &str) -> Form {
        fields(kind)
            .into_iter()
            .find(|field| field.name == name)
            .unwrap_or_else(|| panic!("{kind} has no flag for {name}"))
            .form
    }

    #[test]
    fn the_shape_of_the_schema_says_how_a_flag_reads() {
        for (kind, name, form) in [
            (Kind::Server, "description", Form::Text),
            (Kind::Server, "replicas", Form::Number),
            (Kind::Server, "command", Form::Argv),
            (Kind::Server, "args", Form::Texts),
            (Kind::Server, "env", Form::Variables),
            (Kind::Server, "allowPrivateAddress", Form::Switch),
            (Kind::Secret, "data", Form::Values),
            (Kind::User, "password", Form::Hidden),
            (Kind::Rbac, "subjects", Form::Subjects),
            (Kind::Rbac, "roleBindings", Form::Bindings),
            (Kind::McpToken, "bindings", Form::Bindings),
        ] {
            assert_eq!(form_of(kind, name), form, "{kind}.{name}");
        }
        let Form::Choice(words) = form_of(Kind::Server, "transport") else { panic!("a choice") };
        assert_eq!(
            words.iter().map(|(word, _)| word.as_str()).collect::<Vec<_>>(),
            ["STDIO", "SSE", "STREAMABLE_HTTP"]
        );
    }

    #[test]
    fn no_flag_takes_a_password_as_its_value() {
        let args = fields(Kind::User).iter().find(|field| field.name == "password").unwrap().args();
        assert!(args.iter().all(|arg| matches!(arg.get_action(), ArgAction::SetTrue)));
    }
}
