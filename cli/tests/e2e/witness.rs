//! Witnesses as their users run them: `mcpctl witness serve` beside `mcpctl up`, told of each other by hand, killed and forked.
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;

use crate::support::http::get;
use crate::support::process::Owned;
use crate::support::up::{Place, Up};
use crate::support::wait::wait_until;

/// How long something may take to become so.
const LIMIT: Duration = Duration::from_secs(60);

/// A running `mcpctl witness serve`; killed when it goes out of scope.
struct Witness {
    _process: Owned,
    url: String,
    key: String,
}

impl Witness {
    fn start(place: &Place, logs: &[String]) -> Self {
        let mut command = place.command(&["witness", "serve", "--name", "w1.example.com", "--port", "0", "--data-dir"]);
        command.arg(place.path("witness")).args(logs.iter().flat_map(|key| ["--log", key.as_str()]));
        let stderr = fs::File::options().create(true).append(true).open(place.path("witness.stderr")).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let mut process = Owned::new(child);
        let mut line = String::new();
        BufReader::new(process.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said = || fs::read_to_string(place.path("witness.stderr")).unwrap_or_default();
        let (url, key) = line.trim().split_once(' ').unwrap_or_else(|| panic!("{line:?} {}", said()));
        Self { _process: process, url: url.to_owned(), key: key.to_owned() }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (sort, target) = (entry.file_type().unwrap(), to.join(entry.file_name()));
        if sort.is_dir() {
            copy(&entry.path(), &target);
        } else if sort.is_file() {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn figure(up: &Up, name: &str) -> f64 {
    let page = get(&format!("{}/metrics", up.ready.api), None).unwrap().body;
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
    line.unwrap_or_else(|| panic!("{name} is not in\n{page}")).parse().unwrap()
}

/// What `mcpctl status` says of the log, by a command line that saw none before.
fn status(up: &Up) -> String {
    let _ = fs::remove_file(up.place.home().join(".mcpctl/checkpoints"));
    let said = up.mcpctl(&["status", "-o", "json"]).ok().json();
    said["controlPlane"]["log"].as_str().unwrap().to_owned()
}

/// Has the witness asked about every log of a data folder.
fn add(place: &Place, witness: &Witness) {
    let data = place.data();
    let policy = place
        .mcpctl(&["log", "witness", "add", "w1", &witness.url, &witness.key, "--data-dir", data.to_str().unwrap()])
        .ok()
        .stdout;
    assert!(policy.contains(&witness.key) && policy.contains("quorum"), "{policy}");
}

#[test]
fn a_witness_cosigns_what_goes_on_and_its_refusal_of_a_fork_is_an_alarm_over_restarts_of_both() {
    let up = Up::start();
    let data = up.place.data();
    let folder = data.to_str().unwrap();
    let keys = up.mcpctl(&["log", "witness", "keys", "--data-dir", folder]).ok().stdout;
    let keys: Vec<String> = keys.lines().map(str::to_owned).collect();
    assert_eq!(keys.len(), 3, "{keys:?}");
    let none = up.mcpctl(&["log", "witness", "list", "--data-dir", folder]).ok();
    assert!(none.said().contains("No witnesses"), "{}", none.said());
    let (place, _) = up.stop();
    copy(&data, &place.path("older"));

    // Cosigned as it grows, with no restart between being told of the witness and that.
    let up = Up::start_in(place);
    let witness = Witness::start(&up.place, &keys);
    add(&up.place, &witness);
    assert!(up.mcpctl(&["log", "witness", "list", "--data-dir", folder]).ok().stdout.contains(&witness.url));
    up.mcpctl(&["create", "group", "honest"]).ok();
    let events = figure(&up, "mcpctl_log_head");
    let witnessed = || (figure(&up, "mcpctl_log_witnessed") >= events).then_some(());
    wait_until("the witness has cosigned the change", LIMIT, witnessed);
    assert_eq!(status(&up), "ok");

    // One that does not answer is told of, and is no alarm.
    drop(witness);
    up.mcpctl(&["create", "group", "unseen"]).ok();
    wait_until("its silence is told", LIMIT, || status(&up).contains("does not answer").then_some(()));
    assert!(figure(&up, "mcpctl_log_witness_refusals").abs() < f64::EPSILON);

    // It remembers over kill -9. The older copy goes on otherwise: another log to it, however long it becomes.
    let (place, _) = up.stop();
    let witness = Witness::start(&place, &keys);
    fs::rename(&data, place.path("genuine")).unwrap();
    copy(&place.path("older"), &data);
    let forged = Up::start_in(place);
    add(&forged.place, &witness);
    for name in ["a", "b", "c", "d", "e", "f"] {
        // The command line is another auditor, and not the one that this is about.
        let _ = fs::remove_file(forged.place.home().join(".mcpctl/checkpoints"));
        forged.apply(&[json!({ "kind": "group", "name": name })]);
    }
    let alarm = || {
        let said = status(&forged);
        said.contains("the witness w1 refuses the config log").then_some(said)
    };
    let said = wait_until("its refusal is told", LIMIT, alarm);
    assert!(figure(&forged, "mcpctl_log_witness_refusals") >= 1.0, "{said}");
    assert!(forged.place.log().contains("a witness refuses to cosign"), "{}", forged.place.log());
    let (place, _) = forged.stop();
    let forged = Up::start_in(place);
    wait_until("the alarm is there after a restart", LIMIT, alarm_of(&forged));

    // The genuine log goes on where it was.
    let (place, _) = forged.stop();
    fs::remove_dir_all(&data).unwrap();
    fs::rename(place.path("genuine"), &data).unwrap();
    let back = Up::start_in(place);
    add_again(&back, &witness);
    let events = figure(&back, "mcpctl_log_head");
    wait_until("it is cosigned again", LIMIT, || (figure(&back, "mcpctl_log_witnessed") >= events).then_some(()));
    assert_eq!(status(&back), "ok");
}

fn alarm_of(up: &Up) -> impl FnMut() -> Option<()> {
    || status(up).contains("refuses the config log").then_some(())
}

/// The witness has another port now: its line in the policy is written anew.
fn add_again(up: &Up, witness: &Witness) {
    fs::remove_file(up.place.data().join("log.policy")).unwrap();
    add(&up.place, witness);
}

#[test]
fn what_is_no_witness_is_refused_with_what_to_do() {
    let up = Up::start();
    let data = up.place.data();
    let folder = data.to_str().unwrap();
    let keys = up.mcpctl(&["log", "witness", "keys", "--data-dir", folder]).ok().stdout;
    let key = keys.lines().next().unwrap();
    let add = |url: &str, key: &str| up.mcpctl(&["log", "witness", "add", "w1", url, key, "--data-dir", folder]);
    assert!(add("w1.example.com", key).exits(2).said().contains("is no address"));
    // The key of a log is none of a witness.
    add("https://w1.example.com", key).exits(2);
    add("https://w1.example.com", "nonsense").exits(2);
    assert!(!data.join("log.policy").exists(), "what was refused left nothing");
    let place = up.place.path("witness");
    let serve = |log: &str| {
        let folder = place.to_str().unwrap();
        up.mcpctl(&["witness", "serve", "--name", "w1", "--log", log, "--data-dir", folder, "--port", "0"])
    };
    serve("nonsense").exits(2);
}
