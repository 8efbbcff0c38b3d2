//! A small process that ends our children's process groups when we are killed and can't do it ourselves.
//!
//! It reads `+PGID` and `-PGID` on its standard input, which only we hold the other end of: when we die, however we die, it
//! reads the end of it. It is the one fixed shell script of the system; nothing a user wrote ever reaches it. Without a
//! shell on the machine there is no guardian, and children rely on the end of their own standard input.
use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Child, ChildStdin, Command, Stdio};

use parking_lot::Mutex;
use rustix::process::Pid;

const SCRIPT: &str = r#"trap '' INT TERM HUP
groups=' '
while read -r line; do
  id=${line#?}
  case $line in
    +*) groups="$groups$id " ;;
    -*) case $groups in *" $id "*) groups="${groups%% $id *} ${groups#* $id }" ;; esac ;;
  esac
done
for id in $groups; do kill -TERM "-$id" 2>/dev/null; done
[ "$groups" = ' ' ] || sleep 2
for id in $groups; do kill -KILL "-$id" 2>/dev/null; done
"#;

static GUARDIAN: Mutex<State> = Mutex::new(State { watched: BTreeSet::new(), process: None });

struct State {
    watched: BTreeSet<i32>,
    process: Option<(Child, ChildStdin)>,
}

/// Has this process group ended if we die.
pub(super) fn watch(group: Pid) {
    let mut state = GUARDIAN.lock();
    state.watched.insert(group.as_raw_nonzero().get());
    if state.process.is_none() {
        state.process = begin();
        let all: Vec<i32> = state.watched.iter().copied().collect();
        all.into_iter().for_each(|id| state.tell('+', id));
    } else {
        state.tell('+', group.as_raw_nonzero().get());
    }
}

/// The group is gone; its number may be given to others. With the last one the guardian goes too.
pub(super) fn forget(group: Pid) {
    let mut state = GUARDIAN.lock();
    let id = group.as_raw_nonzero().get();
    state.watched.remove(&id);
    state.tell('-', id);
    if state.watched.is_empty()
        && let Some((mut child, stdin)) = state.process.take()
    {
        drop(stdin);
        // It has nothing to do and exits at once.
        drop(child.wait());
    }
}

impl State {
    fn tell(&mut self, sign: char, id: i32) {
        let Some((_, stdin)) = &mut self.process else { return };
        if let Err(error) = writeln!(stdin, "{sign}{id}") {
            tracing::warn!(%error, "the guardian of child processes is gone; another one is started with the next child");
            if let Some((mut child, _)) = self.process.take() {
                drop(child.kill());
                drop(child.wait());
            }
        }
    }
}

fn begin() -> Option<(Child, ChildStdin)> {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new("/bin/sh");
    command.args(["-c", SCRIPT, "mcpctl-guardian"]).env_clear().env("PATH", "/usr/bin:/bin").current_dir("/");
    // A group of its own: Ctrl-C at the terminal must not reach it before it reaches its end of input.
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    match command.spawn() {
        Ok(mut child) => child.stdin.take().map(|stdin| (child, stdin)),
        Err(error) => {
            tracing::warn!(%error, "no guardian for child processes: /bin/sh can't be started");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;

    #[test]
    fn the_guardian_ends_the_groups_it_watches_when_its_input_ends() {
        let start = || Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
        let (mut watched, mut forgotten, mut last) = (start(), start(), start());
        let (mut guardian, mut stdin) = begin().unwrap();
        for line in [
            format!("+{}", watched.id()),
            format!("+{}", forgotten.id()),
            format!("+{}", last.id()),
            format!("-{}", forgotten.id()),
        ] {
            writeln!(stdin, "{line}").unwrap();
        }
        drop(stdin);
        assert!(!watched.wait().unwrap().success());
        assert!(!last.wait().unwrap().success());
        guardian.wait().unwrap();
        assert!(forgotten.try_wait().unwrap().is_none(), "it was forgotten and lives");
        forgotten.kill().unwrap();
        forgotten.wait().unwrap();
    }
}
