//! Others' code judges our log: the Go project's `sumdb/note` and `sumdb/tlog`, and Python's `hashlib` and `cryptography`.
//! Needs `golang-go` and `golang-golang-x-mod-dev` (Debian), and `cryptography` for Python; `.ci/run` sees to them.
use std::path::Path;
use std::process::{Command, Output};

use mcpctl_core::ids::Seq;
use mcpctl_tlog::{archive, proof_file};

use super::audit_tests::AuditHouse;
use super::state_tests::{grant_proof, granted};
use super::tests::House;
use super::{LogName, export};
use crate::server::audit::AuditRecord;

/// Where Debian puts sources of Go packages.
const GO_SOURCES: &str = "/usr/share/gocode";

fn built(folder: &Path, name: &str, source: &[u8]) -> std::path::PathBuf {
    let (file, program) = (folder.join(format!("{name}.go")), folder.join(name));
    std::fs::write(&file, source).unwrap();
    let mut go = Command::new("go");
    go.args(["build", "-o"]).arg(&program).arg(&file).env("GO111MODULE", "off").env("GOPATH", GO_SOURCES);
    let done = go.env("GOCACHE", Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/go-cache")).output();
    let done = done.expect("go is installed: apt-get install golang-go golang-golang-x-mod-dev");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    program
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn exported(house: &mut House) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    house.close();
    export(&house.path(), LogName::Config, to.path()).unwrap();
    house.reopen();
    to
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn the_go_project_s_libraries_verify_our_log_and_refuse_one_that_was_changed() {
    let tools = tempfile::tempdir().unwrap();
    let program = built(tools.path(), "verify_log", include_bytes!("../../../../core/tlog/interop/verify_log.go"));
    let mut house = House::with(300);
    let key = house.level().key().as_str().to_owned();
    let before = exported(&mut house);
    house.append(400);
    house.level();
    let now = exported(&mut house);
    let judge = |log: &Path, earlier: Option<&Path>| {
        let earlier = earlier.map(|log| log.join("checkpoint"));
        Command::new(&program).arg(log).arg(&key).args(earlier).output().unwrap()
    };
    for (log, earlier, size) in
        [(&before, None, 300), (&now, None, 700), (&now, Some(&before), 700), (&now, Some(&now), 700)]
    {
        let output = judge(log.path(), earlier.map(|log| log.path()));
        assert!(output.status.success(), "{}", said(&output));
        assert_eq!(said(&output), format!("{size} entries\n"));
    }
    let refuses = |log: &Path, earlier: Option<&Path>, what: &str| {
        let output = judge(log, earlier);
        assert!(!output.status.success(), "{what} was accepted: {}", said(&output));
    };
    refuses(before.path(), Some(now.path()), "a log that is shorter than it was");
    for (file, at) in [
        ("tile/entries/000", 40),
        ("tile/entries/002.p/188", 2),
        ("tile/0/001", 9),
        ("tile/1/000.p/2", 40),
        ("checkpoint", 60),
    ] {
        flip(&now.path().join(file), at);
        refuses(now.path(), None, file);
        flip(&now.path().join(file), at);
    }
    assert!(judge(now.path(), None).status.success());
    let cut = now.path().join("tile/entries/002.p/188");
    let bundle = std::fs::read(&cut).unwrap();
    std::fs::write(&cut, &bundle[..bundle.len() - 100]).unwrap();
    refuses(now.path(), None, "a log without its last entries");
    // The same key, other events: what somebody with the disk and the key could make.
    let mut forged = House::forged(700);
    std::fs::copy(house.path().join("log.key"), forged.path().join("log.key")).unwrap();
    let forged = exported(&mut forged);
    assert!(judge(forged.path(), None).status.success(), "it is a log by itself");
    refuses(forged.path(), Some(before.path()), "a log that was chained again");
    refuses(forged.path(), Some(now.path()), "a fork of the same size");
}

#[test]
fn go_and_python_accept_a_proof_and_refuse_what_it_does_not_prove() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::with(300);
    let evidence = house.level();
    let (event, proof) = evidence.prove(Seq(271)).unwrap().unwrap();
    let tar = proof_file::write(&event, "{}", &proof, evidence.key(), proof_file::Beside::Nothing);
    for (name, bytes) in archive::read(&tar).unwrap() {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    let go = built(folder.path(), "verify", &std::fs::read(folder.path().join("verify.go")).unwrap());
    let judges: [(&str, &[&str]); 2] = [(go.to_str().unwrap(), &[]), ("python3", &["verify.py"])];
    let other_key = House::with(1).level().key().as_str().to_owned();
    for (program, arguments) in judges {
        let judge = |event: &str, proof: &str, key: &str| {
            let mut command = Command::new(program);
            command.current_dir(folder.path()).args(arguments).args([event, proof, key]).output().unwrap()
        };
        let key = evidence.key().as_str();
        let output = judge("event.record", "event.tlog-proof", key);
        assert!(output.status.success(), "{program}: {}", said(&output));
        let origin = evidence.key().origin();
        assert_eq!(said(&output), format!("entry 270 is in the log {origin} of 300 entries\n"), "{program}");
        assert!(!judge("event.record", "event.tlog-proof", &other_key).status.success(), "{program}: another key");
        std::fs::copy(folder.path().join("event.record"), folder.path().join("changed")).unwrap();
        flip(&folder.path().join("changed"), 100);
        assert!(!judge("changed", "event.tlog-proof", key).status.success(), "{program}: another event");
        let text = String::from_utf8(proof.to_bytes()).unwrap();
        std::fs::write(folder.path().join("moved"), text.replace("index 270", "index 271")).unwrap();
        assert!(!judge("event.record", "moved", key).status.success(), "{program}: another index");
        std::fs::write(folder.path().join("grown"), text.replace("\n300\n", "\n301\n")).unwrap();
        assert!(!judge("event.record", "grown", key).status.success(), "{program}: another size");
    }
}

/// The audit log is judged by the same programs: whole, with details erased, changed, cut.
#[test]
fn the_go_project_s_libraries_verify_the_audit_log_and_an_erased_one_alike() {
    let tools = tempfile::tempdir().unwrap();
    let program = built(tools.path(), "verify_log", include_bytes!("../../../../core/tlog/interop/verify_log.go"));
    let mut house = AuditHouse::with(700);
    let key = house.level().key().as_str().to_owned();
    let export_now = |house: &mut AuditHouse| {
        let to = tempfile::tempdir().unwrap();
        house.close();
        export(&house.path(), LogName::Audit, to.path()).unwrap();
        to
    };
    let whole = export_now(&mut house);
    house.rewrite(|_, bytes| AuditRecord::read(bytes).unwrap().erased());
    let erased = export_now(&mut house);
    let judge = |log: &Path, earlier: &Path| {
        Command::new(&program).arg(log).arg(&key).arg(earlier.join("checkpoint")).output().unwrap()
    };
    for log in [&whole, &erased] {
        let output = judge(log.path(), whole.path());
        assert!(output.status.success(), "{}", said(&output));
        assert_eq!(said(&output), "700 entries\n");
    }
    for (file, at) in [("tile/entries/001", 40), ("tile/0/000", 9), ("checkpoint", 60)] {
        flip(&erased.path().join(file), at);
        assert!(!judge(erased.path(), whole.path()).status.success(), "{file}");
        flip(&erased.path().join(file), at);
    }
    let other = export_now(&mut AuditHouse::with(701));
    assert!(!judge(other.path(), whole.path()).status.success(), "another log");
}

#[test]
fn go_and_python_see_that_a_grant_was_in_force_and_that_it_was_not() {
    let house = granted();
    let evidence = house.level_state();
    let key = evidence.key().as_str();
    let tools = tempfile::tempdir().unwrap();
    let source = |name: &str| {
        let files = archive::read(&grant_proof(&house, &evidence, 304)).unwrap();
        files.into_iter().find(|(file, _)| file == name).unwrap().1
    };
    let entry = built(tools.path(), "verify", &source("verify.go"));
    let facts = built(tools.path(), "verify_facts", &source("verify_facts.go"));
    for (seq, shown) in [(303, "absent: grant"), (304, "role:view,resource:servers = source:"), (305, "absent: groups")]
    {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in archive::read(&grant_proof(&house, &evidence, seq)).unwrap() {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        let run = |program: &str, arguments: &[&str]| {
            Command::new(program).current_dir(folder.path()).args(arguments).output().unwrap()
        };
        let (go_entry, go_facts) = (entry.to_str().unwrap(), facts.to_str().unwrap());
        for (program, first) in [(go_entry, vec![]), ("python3", vec!["verify.py"])] {
            let output = run(program, &[&first[..], &["event.record", "event.tlog-proof", key]].concat());
            assert!(output.status.success(), "{program}: {}", said(&output));
        }
        for (program, first) in [(go_facts, vec![]), ("python3", vec!["verify_facts.py"])] {
            let judge = |facts: &str| run(program, &[&first[..], &["event.record", facts]].concat());
            let output = judge("facts");
            assert!(output.status.success() && said(&output).contains(shown), "{program} at {seq}: {}", said(&output));
            // Said to hold when it does not, or the other way round.
            let text = std::fs::read_to_string(folder.path().join("facts")).unwrap();
            let lie = text.replacen("\nabsent\n", "\nvalue source:x,seq:1\n", 1);
            let lie = if lie == text { text.replacen("\nvalue ", "\nvalue x", 1) } else { lie };
            std::fs::write(folder.path().join("lie"), lie).unwrap();
            assert!(!judge("lie").status.success(), "{program} believes a lie");
            let end = text.rfind("end ").unwrap();
            std::fs::write(folder.path().join("moved"), format!("{}end nothing\n", &text[..end])).unwrap();
            assert!(text.ends_with("end nothing\n") || !judge("moved").status.success(), "{program}: another end");
        }
    }
}

/// The commands that the page in an archive tells a stranger to type, as they stand there. The one that asks the Go module
/// proxy is the same program with the same module, which Debian packages.
#[test]
fn the_commands_of_the_page_in_an_archive_verify_it_as_they_stand_there() {
    let house = granted();
    let (events, states) = (house.level(), house.level_state());
    let audit = AuditHouse::with(9);
    let calls = audit.level();
    let bytes = audit.record(5);
    let AuditRecord::Whole { nonce, details, .. } = AuditRecord::read(&bytes).unwrap() else { panic!("it is whole") };
    let proved = |evidence: &super::Evidence, seq| evidence.prove(Seq(seq)).unwrap().unwrap();
    let (event, of_event) = proved(&events, 271);
    let (call, of_call) = proved(&calls, 5);
    let archives = [
        ("event", proof_file::write(&event, "{}", &of_event, events.key(), proof_file::Beside::Nothing)),
        ("call", proof_file::write(&call, "{}", &of_call, calls.key(), proof_file::Beside::Call { nonce, details })),
        ("facts", grant_proof(&house, &states, 304)),
    ];
    for (what, tar) in archives {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in archive::read(&tar).unwrap() {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        let page = std::fs::read_to_string(folder.path().join("README.md")).unwrap();
        let typed = page.lines().filter_map(|line| line.strip_prefix("    ")).flat_map(|line| line.split("# or: "));
        let typed = typed.filter(|line| !line.contains("go get")).filter(|line| {
            let about = ["call", "facts"].into_iter().find(|about| line.contains(about));
            about.is_none_or(|about| about == what)
        });
        let mut ran = 0;
        for line in typed {
            let run = || {
                let mut shell = Command::new("sh");
                shell.arg("-c").arg(line).current_dir(folder.path());
                shell.env("GOCACHE", Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/go-cache")).output().unwrap()
            };
            let output = run();
            assert!(output.status.success(), "{line}: {}", said(&output));
            if what == "call" && line.contains("openssl") {
                let header = String::from_utf8_lossy(&call).into_owned();
                assert!(header.contains(said(&output).trim()), "{line}: {} is not in {header}", said(&output));
            } else {
                let entry = folder.path().join("event.record");
                let at = std::fs::read(&entry).unwrap().len() - 10;
                flip(&entry, at);
                assert!(!run().status.success(), "{line}: another entry is believed");
                flip(&entry, at);
            }
            ran += 1;
        }
        assert_eq!(
            ran,
            if what == "event" {
                2
            } else if what == "call" {
                3
            } else {
                4
            },
            "{what}"
        );
    }
}
