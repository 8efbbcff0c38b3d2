//! `mcpctl completion`: the script that makes a shell ask `mcpctl` for completions.
use clap_complete::env::Shells;

use crate::failure::{Done, Failure};
use crate::out;

/// Prints the script that completes commands, flags and names in a shell
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  source <(mcpctl completion bash)                      # in ~/.bashrc
  source <(mcpctl completion zsh)                       # in ~/.zshrc, after compinit
  mcpctl completion fish | source                       # in ~/.config/fish/config.fish")]
pub struct Completion {
    /// Which shell
    #[arg(value_name = "SHELL", value_parser = ["bash", "fish", "zsh"])]
    shell: String,
}

impl Completion {
    pub fn run(self) -> Done {
        let shells = Shells::builtins();
        let shell = shells.completer(&self.shell).ok_or_else(|| Failure::usage("no such shell"))?;
        let mut script = Vec::new();
        shell
            .write_registration("COMPLETE", "mcpctl", "mcpctl", &program(), &mut script)
            .map_err(|error| Failure::new(format!("the script can't be written: {error}")))?;
        out::print(&String::from_utf8_lossy(&script))
    }
}

/// As it was called: by name where the shell finds it by that, else by its path.
fn program() -> String {
    let called = std::env::args().next().unwrap_or_default();
    if !called.contains('/') {
        return "mcpctl".to_owned();
    }
    std::env::current_exe().map_or(called, |path| path.display().to_string())
}
