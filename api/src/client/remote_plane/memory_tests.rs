//! What a gateway's memory of the log promises: the log may only grow, and who showed another one is refused for good.
use mcpctl_core::ids::Digest;
use mcpctl_tlog::{LogSigner, Tree, record_hash};

use super::*;

fn anchor(seq: u64, what: &[u8]) -> Anchor {
    Anchor { seq: Seq(seq), hash: Digest::sha256(what) }
}

fn address() -> Address {
    "http://127.0.0.1:3100".parse().unwrap()
}

/// A log of so many entries, signed by a key, and its proof from an earlier size on. It has less than a tile of entries.
fn shown(of: &str, size: u64, key: u8, from: u64) -> ShownLog {
    struct None;
    impl mcpctl_tlog::Leaves for None {
        fn full(&self, _: u64) -> std::io::Result<Vec<u8>> {
            Err(std::io::ErrorKind::NotFound.into())
        }
    }
    let log = LogSigner::read(&LogSigner::generate("example.com/config", &[key; 32]).unwrap()).unwrap();
    let mut tree = Tree::default();
    (0..size).for_each(|n| drop(tree.push(record_hash(format!("{of} {n}").as_bytes()))));
    let proof = if from > 0 && from < size { tree.prove_prefix(from, &None).unwrap() } else { Vec::new() };
    ShownLog {
        key: log.key().as_str().to_owned(),
        checkpoint: String::from_utf8(log.sign(size, tree.root()).unwrap()).unwrap(),
        proof: proof.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn a_shorter_and_a_forked_log_are_refused_for_good_and_the_same_is_not_even_after_a_restart() {
    for (found, what) in [(Some(anchor(7, b"b")), "forked"), (Some(anchor(6, b"a")), "cut off"), (None, "cut off")] {
        let folder = tempfile::tempdir().unwrap();
        let memory = LogMemory::open(Some(folder.path()), &address()).unwrap();
        assert_eq!(memory.to_ask(), ToAsk { saw: None, size: Some(0) });
        memory.see(anchor(7, b"a")).unwrap();
        memory.see(anchor(5, b"old")).unwrap();
        memory.keep();
        let again = LogMemory::open(Some(folder.path()), &address()).unwrap();
        assert_eq!(again.to_ask().saw, Some(anchor(7, b"a")));
        again.check(again.saw(), Some(anchor(7, b"a"))).unwrap();
        assert_eq!(again.to_ask(), ToAsk::default());
        again.lost();
        let refused = again.check(again.saw(), found).unwrap_err();
        assert!(refused.to_string().contains(what) && refused.to_string().contains("remove "), "{refused}");
        let restarted = LogMemory::open(Some(folder.path()), &address()).unwrap();
        assert_eq!(restarted.refused(), Some(refused), "a restart forgives nothing");
        let elsewhere = LogMemory::open(Some(folder.path()), &"http://127.0.0.1:3101".parse().unwrap()).unwrap();
        assert_eq!((elsewhere.saw(), elsewhere.refused()), (None, None), "each control plane has a log of its own");
    }
}

#[test]
fn a_checkpoint_is_kept_and_only_a_log_that_goes_on_from_it_is_believed() {
    let folder = tempfile::tempdir().unwrap();
    let open = || LogMemory::open(Some(folder.path()), &address()).unwrap();
    let memory = open();
    memory.judge(Some(&shown("a", 20, 1, 0))).unwrap();
    assert_eq!(open().size(), 20, "the first one is written down at once");
    memory.judge(Some(&shown("a", 30, 1, 20))).unwrap();
    memory.keep();
    let genuine = fs::read(memory.file.as_ref().unwrap()).unwrap();
    for (other, why) in [
        (shown("b", 40, 1, 30), "its past was changed"),
        (shown("b", 30, 1, 30), "its past was changed"),
        (shown("a", 29, 1, 0), "entries were taken away"),
        (shown("a", 40, 1, 0), "its past was changed"),
        (shown("a", 40, 2, 30), "its key was"),
        (ShownLog { key: shown("a", 1, 1, 0).key, ..shown("a", 40, 2, 30) }, "not signed"),
    ] {
        let memory = open();
        let refused = memory.judge(Some(&other)).unwrap_err();
        assert!(refused.to_string().contains(why), "{refused}");
        assert_eq!(open().refused(), Some(refused), "for good");
        fs::write(memory.file.as_ref().unwrap(), &genuine).unwrap();
    }
    open().judge(Some(&shown("a", 40, 1, 30))).unwrap();
}

#[test]
fn what_was_told_stands_in_a_checkpoint_within_a_minute_or_nobody_is_served() {
    let memory = LogMemory::open(None, &address()).unwrap();
    memory.see(anchor(9, b"x")).unwrap();
    assert!(memory.state.lock().unsigned.is_none(), "a control plane that never showed one need not");
    assert_eq!(memory.look_due(), Some(0));
    memory.judge(Some(&shown("a", 20, 1, 0))).unwrap();
    memory.see(anchor(20, b"x")).unwrap();
    assert_eq!((memory.look_due(), memory.state.lock().unsigned), (None, None));
    memory.see(anchor(21, b"y")).unwrap();
    let long_ago = Boottime::from_millis(1);
    memory.state.lock().unsigned.as_mut().expect("it is not signed yet").1 = long_ago;
    assert!(memory.see(anchor(22, b"z")).is_err() && memory.judge(None).is_err());
    memory.judge(Some(&shown("a", 20, 1, 20))).unwrap_err();
    assert_eq!(memory.refused(), None, "that passes");
    memory.state.lock().looked = long_ago;
    assert_eq!(memory.look_due(), Some(20));
    memory.judge(Some(&shown("a", 22, 1, 20))).unwrap();
    memory.see(anchor(23, b"z")).unwrap();
    memory.lost();
    assert!(memory.state.lock().unsigned.is_none());
}

#[test]
fn what_an_earlier_version_remembered_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let memory = LogMemory::open(Some(folder.path()), &address()).unwrap();
    memory.see(anchor(7, b"a")).unwrap();
    let file = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    fs::write(&file, serde_json::to_vec(&anchor(7, b"a")).unwrap()).unwrap();
    let memory = LogMemory::open(Some(folder.path()), &address()).unwrap();
    assert_eq!((memory.saw(), memory.size()), (Some(anchor(7, b"a")), 0));
}

#[test]
fn what_can_not_be_read_is_not_taken_for_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let memory = LogMemory::open(Some(folder.path()), &address()).unwrap();
    memory.judge(Some(&shown("a", 20, 1, 0))).unwrap();
    let file = memory.file.clone().unwrap();
    let text = fs::read_to_string(&file).unwrap();
    for bad in ["{".to_owned(), text.replace("\\n20\\n", "\\n21\\n")] {
        fs::write(&file, bad).unwrap();
        assert!(LogMemory::open(Some(folder.path()), &address()).is_err());
    }
}
