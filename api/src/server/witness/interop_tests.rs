//! Others' code on the other side: a public witness (PyPI `aics-witness`) cosigns our log, a public client asks our witness,
//! and a public verifier (PyPI `aics-tlog`) judges tiles, checkpoints, cosignatures and consistency. `.ci/test` installs them.
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use super::tests::{Served, until};
use crate::server::evidence::testing::House;
use crate::server::evidence::{LogName, export, witnesses};

const MISSING: &str = "aics-witness and aics-tlog are installed: pip install aics-witness==0.1.0 aics-tlog==0.2.1";

fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().expect(MISSING)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The public witness, serving.
struct Public {
    process: Child,
    url: String,
    key: String,
}

impl Public {
    fn serving(folder: &Path, log: &mcpctl_tlog::LogKey) -> Self {
        let config = folder.join("witness.json");
        let config = config.to_str().unwrap();
        let made = run("aics-witness", &["init", "-c", config, "--name", "w.example.com", "--listen", "127.0.0.1:0"]);
        assert!(made.status.success(), "{}", text(&made.stderr));
        let trusted = run("aics-witness", &["add-log", "-c", config, "--origin", log.origin(), "--vkey", log.as_str()]);
        assert!(trusted.status.success(), "{}", text(&trusted.stderr));
        let mut process = Command::new("aics-witness")
            .args(["serve", "-c", config, "--listen", "127.0.0.1:0"])
            .stderr(Stdio::piped())
            .spawn()
            .expect(MISSING);
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
        let line = lines.find(|line| line.contains("listening on ")).expect("it says where it listens");
        let url = line.split("listening on ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
        // Nobody else reads what it says: a full pipe would stop it.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, url, key: text(&made.stdout).trim().to_owned() }
    }
}

impl Drop for Public {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn added(house: &House, witness: &Public) {
    let _ = std::fs::remove_file(house.path().join(witnesses::POLICY_FILE));
    witnesses::add(&house.path(), "w", &witness.key, Some(&witness.url), None).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_public_witness_cosigns_our_log_a_public_verifier_sees_it_and_a_fork_is_refused() {
    let (mut house, folder) = (House::with(300), tempfile::tempdir().unwrap());
    let evidence = Arc::new(house.level());
    let key = evidence.key().clone();
    let witness = Public::serving(folder.path(), &key);
    added(&house, &witness);
    let seen = until(&house, &evidence, "it is cosigned", |seen| seen.witnessed(LogName::Config) == 300).await;
    let early = folder.path().join("early");
    std::fs::write(&early, seen.note(LogName::Config).unwrap()).unwrap();
    house.append(400);
    evidence.catch_up(700).unwrap();
    let seen = until(&house, &evidence, "it goes on", |seen| seen.witnessed(LogName::Config) == 700).await;
    let late = folder.path().join("late");
    std::fs::write(&late, seen.note(LogName::Config).unwrap()).unwrap();
    evidence.keep_for_tests().unwrap();
    drop(evidence);
    house.close();
    let tiles = folder.path().join("tiles");
    export(&house.path(), LogName::Config, &tiles).unwrap();
    let judge = |tiles: &Path, old: &Path, new: &Path| {
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let (tiles, old, new) = (path(tiles), path(old), path(new));
        let arguments = ["verify-consistency", "--tiles", &tiles, "--old-checkpoint", &old, "--checkpoint", &new];
        let trust = ["--log-key", key.as_str(), "--witness-key", &witness.key, "--quorum", "1", "--max-age", "3600"];
        run("aics-tlog", &[&arguments[..], &trust].concat())
    };
    let output = judge(&tiles, &early, &late);
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    assert!(!judge(&tiles, &late, &early).status.success(), "a log that shrank");
    assert!(!judge(&tiles, &early, &tiles.join("checkpoint")).status.success(), "a checkpoint that nobody cosigned");
    // Another past under the same key: the witness refuses, and that is an alarm.
    let forged = House::forged(710);
    std::fs::copy(house.path().join("log.key"), forged.path().join("log.key")).unwrap();
    added(&forged, &witness);
    let forked = Arc::new(forged.level());
    let seen = until(&forged, &forked, "it is refused", |seen| !seen.alarms().is_empty()).await;
    assert!(seen.note(LogName::Config).is_none(), "{:?}", seen.alarms());
}

const CLIENT: &str = r#"
import base64, sys
from aics_witness.feeder import submit_checkpoint
url, key, note, proof = sys.argv[1:]
hashes = [base64.b64decode(line) for line in open(proof).read().split()]
print(submit_checkpoint(url, open(note, "rb").read(), lambda old, new: hashes, witness_vkey=key), end="")
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_witness_cosigns_for_a_public_client_and_refuses_it_a_fork() {
    let (mut house, folder) = (House::with(20), tempfile::tempdir().unwrap());
    let evidence = house.level();
    let served = Served::at(&folder.path().join("witness"), vec![evidence.key().clone()]).await;
    let (url, key) = (served.url.clone(), served.witness.key().as_str().to_owned());
    let ask = |note: Vec<u8>, proof: String| {
        let (note_path, proof_path) = (folder.path().join("note"), folder.path().join("proof"));
        std::fs::write(&note_path, note).unwrap();
        std::fs::write(&proof_path, proof).unwrap();
        let paths = [note_path.to_str().unwrap().to_owned(), proof_path.to_str().unwrap().to_owned()];
        let (url, key) = (url.clone(), key.clone());
        tokio::task::spawn_blocking(move || run("python3", &["-c", CLIENT, &url, &key, &paths[0], &paths[1]]))
    };
    let first = evidence.newest().unwrap().note.clone();
    let output = ask(first, String::new()).await.unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    house.append(30);
    evidence.catch_up(50).unwrap();
    let (proof, signed) = evidence.prove_prefix(20).unwrap().unwrap();
    let proof: String = proof.iter().map(|hash| format!("{hash}\n")).collect();
    let output = ask(signed.note.clone(), proof.clone()).await.unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(served.witness.key().add(&signed.note, &text(&output.stdout)).is_some());
    let forged = House::forged(60);
    std::fs::copy(house.path().join("log.key"), forged.path().join("log.key")).unwrap();
    let forked = forged.level();
    let output = ask(forked.newest().unwrap().note.clone(), proof).await.unwrap();
    assert!(!output.status.success() && text(&output.stderr).contains("422"), "{}", text(&output.stderr));
    served.end().await;
}
