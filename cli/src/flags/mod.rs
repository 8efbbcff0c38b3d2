//! Flags of `create KIND`, made of the kind's JSON Schema: what can be said in YAML can be said in flags.
mod field;
mod fill;
mod path;

pub use field::{Form, fields};
pub use fill::{manifest_of, stdin_line};

use clap::{Arg, ArgAction, Command};
use mcpctl_core::kinds::Kind;
use mcpctl_core::resource::Scope;

/// The subcommand `create KIND`.
pub fn command(kind: Kind) -> Command {
    let untyped = kind.untyped();
    let names = kind.names();
    let mut command = Command::new(names.singular)
        .about(about(kind))
        // Not visible: completion would offer the short noun in place of the kind.
        .aliases(names.short.iter().copied().chain((names.plural != names.singular).then_some(names.plural)))
        .after_help(format!("As a manifest, for `mcpctl apply -f`:\n\n{}", indented(untyped.example())))
        .arg(Arg::new("NAME").required(true).help("Name of the object"));
    for field in fields(kind) {
        command = command.args(field.args());
    }
    command = command.arg(
        Arg::new("set")
            .long("set")
            .value_name("PATH=VALUE")
            .action(ArgAction::Append)
            .help("Sets any field, such as healthCheck.tool=ping or tools.deny[0]=drop_*; the value is YAML"),
    );
    if kind.scope() == Scope::Project {
        let project = Arg::new("project")
            .short('p')
            .long("project")
            .value_name("PROJECT")
            .add(crate::completion::names_of(Kind::Project));
        command = command.arg(project.help("Project that it lives in"));
    }
    if untyped.immutable() {
        let force = Arg::new("force").long("force").action(ArgAction::SetTrue);
        command = command.arg(force.help("Deletes one of the same name first: it can't be changed"));
    }
    command
        .arg(Arg::new("dry-run").long("dry-run").action(ArgAction::SetTrue).help("Has it decided, and changes nothing"))
        .arg(
            Arg::new("output")
                .short('o')
                .long("output")
                .value_name("FORMAT")
                .value_parser(["json", "yaml", "name"])
                .help("What to print of it"),
        )
}

/// What a kind is, and its short noun.
fn about(kind: Kind) -> String {
    let summary = kind.untyped().summary().trim_end_matches('.');
    match kind.names().short.first() {
        Some(short) => format!("{summary} [{short}]"),
        None => summary.to_owned(),
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_can_be_created_and_its_help_shows_its_example() {
        for kind in Kind::ALL {
            let help = command(*kind).render_long_help().to_string();
            for line in kind.untyped().example().lines() {
                assert!(help.contains(line), "{kind}: {line}\n{help}");
            }
            command(*kind).debug_assert();
        }
    }

    #[test]
    fn every_flag_says_what_it_is_for() {
        for kind in Kind::ALL {
            for arg in command(*kind).get_arguments() {
                assert!(arg.get_help().is_some_and(|help| !help.to_string().is_empty()), "{kind}: {}", arg.get_id());
            }
        }
    }
}
