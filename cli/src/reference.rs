//! `docs/reference/cli.md`: the help of every command as one page. The page is the snapshot that the help is tested against.
use clap::{Command, CommandFactory};

use crate::verbs::Cli;

/// Columns of the help on the page.
const WIDTH: usize = 110;

/// The whole page.
fn page() -> String {
    let mut text = "# mcpctl, command by command\n\nWritten by the code from the help texts: `MCPCTL_REGENERATE=1 cargo test -p mcpctl-cli reference` writes it anew.\n".to_owned();
    let mut root = Cli::command().term_width(WIDTH).color(clap::ColorChoice::Never);
    root.build();
    section(&mut root, &mut text);
    text
}

fn section(command: &mut Command, text: &mut String) {
    let help = command.render_long_help().to_string();
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    let title = command.get_bin_name().unwrap_or("mcpctl").to_owned();
    text.push_str(&format!("\n## {title}\n```text\n{}\n```\n", help.join("\n").trim_end()));
    for inner in command.get_subcommands_mut().filter(|inner| !inner.is_hide_set()) {
        section(inner, text);
    }
}

#[test]
fn the_page_says_what_the_help_says() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/cli.md");
    let page = page();
    if std::env::var_os("MCPCTL_REGENERATE").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    let difference = similar::TextDiff::from_lines(stored.as_str(), page.as_str()).unified_diff().to_string();
    assert!(
        difference.is_empty(),
        "docs/reference/cli.md is not what the help says (MCPCTL_REGENERATE=1 writes it anew):\n{difference}"
    );
}

#[test]
fn every_command_says_what_it_is_for_and_verbs_show_examples() {
    let mut root = Cli::command();
    root.build();
    for verb in root.get_subcommands() {
        assert!(verb.get_about().is_some(), "{}", verb.get_name());
        let groups = verb.get_subcommands().count();
        let examples = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
        let inner = verb
            .get_subcommands()
            .any(|inner| inner.get_after_help().is_some_and(|help| help.to_string().contains("Examples:")));
        assert!(examples.contains("Examples:") || (groups > 0 && inner), "{} shows no examples", verb.get_name());
        for arg in verb.get_arguments().chain(verb.get_subcommands().flat_map(Command::get_arguments)) {
            assert!(arg.get_help().is_some(), "{} {}", verb.get_name(), arg.get_id());
        }
    }
    Cli::command().debug_assert();
}
