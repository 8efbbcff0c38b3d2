//! Opens an address in the person's browser.
use std::process::Stdio;

use url::Url;

/// Tries to; `false` when there is no browser to be opened here.
pub(super) fn open(url: &Url) -> bool {
    let given = std::env::var("BROWSER").ok().filter(|program| !program.is_empty());
    let program = match given {
        Some(program) => program,
        None if cfg!(target_os = "macos") => "open".to_owned(),
        // Over SSH there is no screen: what opened would open nowhere.
        None if is_set("DISPLAY") || is_set("WAYLAND_DISPLAY") => "xdg-open".to_owned(),
        None => return false,
    };
    let mut command = tokio::process::Command::new(program);
    command.arg(url.as_str()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().is_ok()
}

fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty())
}
