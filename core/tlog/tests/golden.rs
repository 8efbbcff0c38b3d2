//! The recorded log of every release, as tiles with a signed checkpoint and a proof: later releases must verify it.
//!
//! `MCPCTL_RECORD_LOG=1 cargo test -p mcpctl-tlog --test golden` writes it, once per release.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use mcpctl_tlog::{Leaves, LogKey, LogSigner, Proof, Resource, Tree, bundle, proof_file, record_hash};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/log")
}

fn records() -> Vec<Vec<u8>> {
    let byte = |line: &str, at: usize| u8::from_str_radix(&line[at..at + 2], 16).unwrap();
    let text = std::fs::read_to_string(fixtures().join("v1.hex")).unwrap();
    text.lines().map(|line| (0..line.len()).step_by(2).map(|at| byte(line, at)).collect()).collect()
}

struct Nothing;
impl Leaves for Nothing {
    fn full(&self, _: u64) -> std::io::Result<Vec<u8>> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

/// What this program makes of the records: each file of the log, and a proof of the first event.
fn files(signer: &LogSigner) -> Vec<(String, Vec<u8>)> {
    let (records, mut tree, mut entries) = (records(), Tree::default(), Vec::new());
    for record in &records {
        assert!(bundle::push(&mut entries, record));
        assert!(tree.push(record_hash(record)).is_none(), "the recorded log fits in one tile");
    }
    let width = tree.size();
    let note = signer.sign(width, tree.root()).unwrap();
    let proof = Proof { index: 0, hashes: tree.prove_entry(0, &Nothing).unwrap(), checkpoint: note.clone() };
    vec![
        (Resource::Tile { level: 0, n: 0, width }.to_string(), tree.tile(0, 0, width, &Nothing).unwrap().unwrap()),
        (Resource::Entries { n: 0, width }.to_string(), entries),
        ("checkpoint".to_owned(), note),
        ("first.tlog-proof".to_owned(), proof.to_bytes()),
        (
            "first.tar".to_owned(),
            proof_file::write(&records[0], "{}", &proof, signer.key(), proof_file::Beside::Nothing),
        ),
        ("log.vkey".to_owned(), format!("{}\n", signer.key().as_str()).into_bytes()),
    ]
}

#[test]
fn the_recorded_log_of_every_release_still_verifies() {
    let folder = fixtures().join("v1");
    if std::env::var_os("MCPCTL_RECORD_LOG").is_some() {
        // A key that signs nothing else, and is thrown away.
        let signer = LogSigner::read(&LogSigner::generate("mcpctl.log/golden/config", &[42; 32]).unwrap()).unwrap();
        for (name, bytes) in files(&signer) {
            std::fs::create_dir_all(folder.join(&name).parent().unwrap()).unwrap();
            std::fs::write(folder.join(name), bytes).unwrap();
        }
    }
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let key = LogKey::read(&String::from_utf8(read("log.vkey")).unwrap()).unwrap();
    let checkpoint = key.open(&read("checkpoint")).expect("the signature holds for ever");
    let records = records();
    assert_eq!(checkpoint.size, records.len() as u64);
    let width = checkpoint.size;
    let entries = read(&Resource::Entries { n: 0, width }.to_string());
    assert_eq!(bundle::entries(&entries).unwrap(), records, "the entries are the recorded events");
    let mut tree = Tree::default();
    records.iter().for_each(|record| drop(tree.push(record_hash(record))));
    assert_eq!(tree.root(), checkpoint.root, "the tree has the root that was signed");
    let tile = read(&Resource::Tile { level: 0, n: 0, width }.to_string());
    assert_eq!(tree.tile(0, 0, width, &Nothing).unwrap(), Some(tile));
    let proof = Proof::read(&read("first.tlog-proof")).unwrap();
    proof.verify(&records[0], &key).expect("the proof holds for ever");
    let shown = proof_file::verify(&read("first.tar"), Some(&key)).expect("the archive holds for ever");
    assert_eq!((shown.seq, &shown.event), (1, &records[0]));
}

#[test]
fn what_this_release_writes_is_what_was_recorded() {
    let signer = LogSigner::read(&LogSigner::generate("mcpctl.log/golden/config", &[42; 32]).unwrap()).unwrap();
    for (name, bytes) in files(&signer) {
        // The page and the programs in the archive may be written better; what they are about may not change.
        if name != "first.tar" {
            assert_eq!(std::fs::read(fixtures().join("v1").join(&name)).unwrap(), bytes, "{name}");
        }
    }
}
