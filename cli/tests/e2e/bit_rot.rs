//! Bit rot: in a data folder that a real process left, one bit of each sort of byte is flipped. It is found and named, or it is
//! of something derived that is made again; what is served is never another thing than before.
use std::fs;
use std::path::{Path, PathBuf};

use mcpctl_api::server::control_plane::ControlPlane;
use mcpctl_api::server::effects::sealed_store::Purpose;
use mcpctl_api::server::evidence::{self, LogName};
use mcpctl_api::server::process::chain;
use mcpctl_core::ids::{Digest, Seq};
use mcpctl_tlog::{Resource, TILE_WIDTH};
use serde_json::json;

use crate::support::http::send;
use crate::support::up::{Up, login};

/// More than a tile of audit entries.
const LOOKS: usize = 300;
/// Enough events for a snapshot.
const GROUPS: usize = 1_100;

/// What must come of a flipped bit.
#[derive(Clone, Copy, PartialEq)]
enum Comes {
    /// Both a start and a look refuse it, naming this. It is not touched.
    Refused(&'static str),
    /// A look names it, and a repair makes it again; so does a start.
    MadeAgain(&'static str),
    /// It is derived, and nobody would notice but that it is made again, or read past.
    Derived,
    /// A look names it; a start serves everything but this.
    NotOpened(&'static str),
}

/// Where in a file.
type Place = fn(&[u8]) -> usize;

/// End of what was written, before the space written ahead.
fn end(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1
}

fn line(bytes: &[u8], number: usize) -> usize {
    let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    std::iter::once(0).chain(ends).nth(number).unwrap()
}

/// What a sealed file has behind the value: the wrapped key.
const WRAPPED: usize = 72;

const SEGMENT: &str = ".segment is damaged";

/// Class of bytes, the file (the last by its name, of those that match), where in it, and what must come of it.
const CLASSES: &[(&str, &str, Place, Comes)] = &[
    ("journal: magic", "log/*.segment", |_| 0, Comes::Refused(SEGMENT)),
    ("journal: format", "log/*.segment", |_| 8, Comes::Refused(SEGMENT)),
    ("journal: first seq", "log/*.segment", |_| 16, Comes::Refused(SEGMENT)),
    ("journal: checksum of the header", "log/*.segment", |_| 28, Comes::Refused(SEGMENT)),
    ("journal: length of a record", "log/*.segment", |_| 32, Comes::Refused(SEGMENT)),
    ("journal: checksum of a record", "log/*.segment", |_| 36, Comes::Refused(SEGMENT)),
    ("journal: seq of a record", "log/*.segment", |_| 40, Comes::Refused(SEGMENT)),
    ("journal: place in its batch", "log/*.segment", |_| 48, Comes::Refused(SEGMENT)),
    ("journal: what was durable then", "log/*.segment", |_| 52, Comes::Refused(SEGMENT)),
    ("journal: first byte of a record", "log/*.segment", |_| 56, Comes::Refused(SEGMENT)),
    ("journal: a record in the middle", "log/*.segment", |bytes| end(bytes) / 2, Comes::Refused(SEGMENT)),
    ("journal: the last record", "log/*.segment", |bytes| end(bytes) - 5, Comes::Refused("are missing")),
    ("journal: padding", "log/*.segment", |bytes| end(bytes) + 1_000, Comes::Derived),
    ("sled: settings", "log/index/conf", |bytes| bytes.len() / 2, Comes::Derived),
    ("sled: first page", "log/index/db", |_| 9, Comes::Derived),
    ("sled: a page", "log/index/db", |bytes| bytes.len() / 4, Comes::Derived),
    ("sled: a page in the middle", "log/index/db", |bytes| bytes.len() / 2, Comes::Derived),
    ("sled: a page later", "log/index/db", |bytes| bytes.len() * 3 / 4, Comes::Derived),
    ("sled: its snapshot", "log/index/snap.*", |bytes| bytes.len() / 2, Comes::Derived),
    ("index: note", "log/index.closed", |_| 0, Comes::Derived),
    ("tile: first hash", "tlog/config/tile/0/000", |_| 0, Comes::MadeAgain("tile/0/000")),
    ("tile: last hash", "tlog/config/tile/0/000", |bytes| bytes.len() - 1, Comes::MadeAgain("tile/0/000")),
    ("tile: at the edge", "tlog/config/tile/0/*.p/*", |_| 3, Comes::MadeAgain("tile/0/")),
    ("tile: of a higher level", "tlog/config/tile/1/*.p/*", |_| 3, Comes::MadeAgain("tile/1/")),
    ("tile: of the audit log", "tlog/audit/tile/0/000", |_| 40, Comes::MadeAgain("tile/0/000")),
    ("tile: of the audit log's edge", "tlog/audit/tile/0/*.p/*", |_| 3, Comes::MadeAgain("tile/0/")),
    ("tile: of the state log", "tlog/state/tile/0/000", |_| 40, Comes::MadeAgain("tile/0/000")),
    ("checkpoint: origin", "tlog/config/checkpoint", |_| 0, Comes::MadeAgain("checkpoint")),
    ("checkpoint: size", "tlog/config/checkpoint", |bytes| line(bytes, 1), Comes::MadeAgain("checkpoint")),
    ("checkpoint: root", "tlog/config/checkpoint", |bytes| line(bytes, 2), Comes::MadeAgain("checkpoint")),
    ("checkpoint: signature", "tlog/config/checkpoint", |bytes| bytes.len() - 9, Comes::MadeAgain("checkpoint")),
    ("checkpoint: of the audit log", "tlog/audit/checkpoint", |bytes| bytes.len() - 9, Comes::MadeAgain("checkpoint")),
    ("checkpoint: of the state log", "tlog/state/checkpoint", |bytes| bytes.len() - 9, Comes::MadeAgain("checkpoint")),
    ("public key", "tlog/config/log.vkey", |_| 3, Comes::Derived),
    ("signing key", "log.key", |bytes| bytes.len() - 9, Comes::Refused("log.key")),
    ("signing key: of the audit log", "audit-log.key", |bytes| bytes.len() - 9, Comes::Refused("audit-log.key")),
    ("signing key: of the state log", "state-log.key", |bytes| bytes.len() - 9, Comes::Refused("state-log.key")),
    ("snapshot: head", "snapshot/*.snapshot", |_| 0, Comes::MadeAgain("snapshot")),
    ("snapshot: image", "snapshot/*.snapshot", |bytes| bytes.len() / 2, Comes::MadeAgain("snapshot")),
    ("snapshot: its hash", "snapshot/*.snapshot", |bytes| bytes.len() - 1, Comes::MadeAgain("snapshot")),
    ("audit: magic", "audit/*.segment", |_| 0, Comes::Refused(SEGMENT)),
    ("audit: checksum of the header", "audit/*.segment", |_| 28, Comes::Refused(SEGMENT)),
    ("audit: length of an entry", "audit/*.segment", |_| 32, Comes::Refused(SEGMENT)),
    ("audit: checksum of an entry", "audit/*.segment", |_| 36, Comes::Refused(SEGMENT)),
    ("audit: header of an entry", "audit/*.segment", |_| 60, Comes::Refused(SEGMENT)),
    ("audit: in the middle", "audit/*.segment", |bytes| end(bytes) / 2, Comes::Refused(SEGMENT)),
    ("audit: the last entry", "audit/*.segment", |bytes| end(bytes) - 5, Comes::Refused("are missing")),
    ("audit: padding", "audit/*.segment", |bytes| end(bytes) + 1_000, Comes::Derived),
    ("key of the sealed store", "key", |_| 5, Comes::Refused("key file")),
    ("key of the sealed store: its check", "key", |bytes| bytes.len() - 1, Comes::Refused("key file")),
    ("sealed value: magic", "sealed/SECRET", |_| 0, Comes::NotOpened("sealed/")),
    ("sealed value: nonce", "sealed/SECRET", |_| 10, Comes::NotOpened("sealed/")),
    ("sealed value: value", "sealed/SECRET", |_| 34, Comes::NotOpened("sealed/")),
    ("sealed value: tag", "sealed/SECRET", |bytes| bytes.len() - WRAPPED - 1, Comes::NotOpened("sealed/")),
    ("sealed value: nonce of its key", "sealed/SECRET", |bytes| bytes.len() - WRAPPED + 1, Comes::NotOpened("sealed/")),
    ("sealed value: its key", "sealed/SECRET", |bytes| bytes.len() - 30, Comes::NotOpened("sealed/")),
    ("sealed value: tag of its key", "sealed/SECRET", |bytes| bytes.len() - 1, Comes::NotOpened("sealed/")),
    ("format of the folder", "format", |_| 0, Comes::Refused("format")),
];

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        let sort = entry.file_type().unwrap();
        if sort.is_dir() {
            copy(&entry.path(), &target);
        } else if sort.is_file() {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The file of a pattern whose parts may have one `*`.
fn file(data: &Path, pattern: &str) -> PathBuf {
    let mut at = data.to_owned();
    for part in pattern.split('/') {
        let Some((begin, rest)) = part.split_once('*') else {
            at.push(part);
            continue;
        };
        let names = fs::read_dir(&at).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.starts_with(begin) && name.ends_with(rest)).collect();
        names.sort();
        at.push(names.pop().unwrap_or_else(|| panic!("nothing is {pattern} in {}", at.display())));
    }
    at
}

/// All that a control plane serves of its folder.
#[derive(PartialEq)]
struct Served {
    state: Vec<u8>,
    records: Vec<Vec<u8>>,
    entries: Vec<String>,
    tiles: Vec<(String, Option<Vec<u8>>)>,
    secret: Result<Vec<u8>, String>,
}

/// Starts a control plane on a folder and asks it for everything, up to sizes that are known.
async fn served(data: &Path, secret: &Digest, sizes: Option<[u64; 3]>) -> Result<(Served, [u64; 3]), String> {
    let control = ControlPlane::open(data).await.map_err(|error| chain(&error))?;
    let app = control.app().clone();
    let state = app.published.load();
    let events = app.log.head().0;
    let records = (1..=events).map(|seq| app.log.read(Seq(seq)).unwrap().unwrap()).collect();
    let mut entries = Vec::new();
    let of_audit = sizes.map_or(u64::MAX, |sizes| sizes[1]);
    app.audit
        .each(&mut |position, entry| {
            entries.extend((position.0 <= of_audit).then(|| serde_json::to_string(&entry).unwrap()));
            true
        })
        .unwrap();
    let mut now = [0; 3];
    let mut tiles = Vec::new();
    for (index, log) in LogName::ALL.into_iter().enumerate() {
        let evidence = app.evidence_of(log).clone();
        let there = if log == LogName::Audit { entries.len() as u64 } else { events };
        let wanted = sizes.map_or(there, |sizes| sizes[index]);
        let level = || evidence.alarm().is_some() || evidence.newest().is_some_and(|now| now.checkpoint.size >= wanted);
        tokio::time::timeout(std::time::Duration::from_secs(60), async {
            while !level() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("the {log} log is never level"));
        assert_eq!(evidence.alarm(), None, "{log}");
        now[index] = wanted;
        for n in 0..now[index] / TILE_WIDTH {
            for resource in
                [Resource::Tile { level: 0, n, width: TILE_WIDTH }, Resource::Entries { n, width: TILE_WIDTH }]
            {
                tiles.push((format!("{log} {resource}"), evidence.resource(resource).unwrap()));
            }
        }
    }
    let secret = app.sealed.unseal(Purpose::Secret, secret);
    let secret = secret.map(|value| value.to_vec()).map_err(|error| chain(&error));
    let served = Served { state: state.canonical(), records, entries, tiles, secret };
    drop((app, state));
    control.shutdown().await;
    Ok((served, now))
}

/// What a look at all logs says, without anybody serving them.
fn found(data: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for log in LogName::ALL {
        match evidence::verify(data, log, true) {
            Ok(seen) => all.extend(seen.repairable),
            Err(error) => all.push(chain(&error)),
        }
    }
    all
}

/// The folder of a process that did some of everything.
fn lived(up: &Up) {
    let groups: String = (0..GROUPS).map(|n| format!("kind: group\nname: g{n}\n---\n")).collect();
    up.place.mcpctl_with_input(&["apply", "-f", "-"], &groups).ok();
    up.apply(&[json!({ "kind": "secret", "name": "canary", "data": { "k": "hunter2-canary" } })]);
    let bearer = format!("Bearer {}", login(up));
    let looks = format!("{}/api/v1/audit/events?limit=1", up.ready.api);
    for _ in 0..LOOKS {
        assert_eq!(send("GET", &looks, &[("authorization", &bearer)], Vec::new()).unwrap().status, 200);
    }
    up.mcpctl(&["create", "group", "says-where-the-audit-log-stood"]).ok();
}

#[test]
fn no_flipped_bit_of_any_sort_of_byte_is_served_and_each_is_named_or_made_again() {
    let up = Up::start();
    lived(&up);
    let (place, _) = up.stop();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let of_secret = |data: &Path| {
        let store = mcpctl_api::server::effects::sealed_store::SealedStore::open(data).unwrap();
        let names = fs::read_dir(data.join("sealed")).unwrap().map(|file| file.unwrap().file_name());
        let mut all = names.filter_map(|name| name.to_str()?.parse::<Digest>().ok());
        all.find(|name| store.unseal(Purpose::Secret, name).is_ok()).expect("the secret is sealed")
    };
    let good = place.data();
    let secret = of_secret(&good);
    // A snapshot is for the program that wrote it: this one.
    let (before, sizes) = runtime.block_on(served(&good, &secret, None)).unwrap();
    assert_eq!(found(&good), [] as [String; 0]);
    assert!(before.secret.as_ref().is_ok_and(|value| value.windows(14).any(|part| part == b"hunter2-canary")));
    assert!(before.tiles.len() > 12 && before.entries.len() >= LOOKS);
    for (class, pattern, at, comes) in CLASSES {
        let rotten = tempfile::tempdir().unwrap();
        let data = rotten.path().join("data");
        let path = file(&good, &pattern.replace("SECRET", &secret.to_string()));
        let path = data.join(path.strip_prefix(&good).unwrap());
        let flip = || {
            let _ = fs::remove_dir_all(&data);
            copy(&good, &data);
            let mut bytes = fs::read(&path).unwrap();
            let at = at(&bytes);
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            bytes
        };
        let flipped = flip();
        let said = found(&data);
        let names = |name: &str| {
            let named = said.iter().any(|said| said.contains(name));
            assert!(named, "{class}: a look does not name {name:?}: {said:?}");
        };
        let started = || runtime.block_on(served(&data, &secret, Some(sizes)));
        let as_before = |now: &Served| {
            assert!(now.state == before.state, "{class}: another state is served");
            assert!(now.records == before.records, "{class}: other events are served");
            assert!(now.entries == before.entries, "{class}: other audit entries are served");
            for ((name, was), (_, is)) in before.tiles.iter().zip(&now.tiles) {
                assert!(was == is, "{class}: {name} is another");
            }
        };
        match comes {
            Comes::Refused(name) => {
                names(name);
                let refused = started().err().unwrap_or_else(|| panic!("{class}: it starts"));
                assert!(refused.contains(name), "{class}: {refused}");
                assert!(fs::read(&path).unwrap() == flipped, "{class}: it was touched");
            }
            Comes::MadeAgain(name) => {
                names(name);
                LogName::ALL.iter().for_each(|log| drop(evidence::repair(&data, *log).unwrap()));
                assert_eq!(found(&data), [] as [String; 0], "{class}: after a repair");
                flip();
                let (now, _) = started().unwrap_or_else(|error| panic!("{class}: {error}"));
                as_before(&now);
                assert_eq!(now.secret, before.secret, "{class}");
                assert_eq!(found(&data), [] as [String; 0], "{class}: after a start");
            }
            Comes::Derived => {
                assert_eq!(said, [] as [String; 0], "{class}");
                let (now, _) = started().unwrap_or_else(|error| panic!("{class}: {error}"));
                as_before(&now);
                assert_eq!(now.secret, before.secret, "{class}");
                assert_eq!(found(&data), [] as [String; 0], "{class}: after a start");
            }
            Comes::NotOpened(name) => {
                names(name);
                let (now, _) = started().unwrap_or_else(|error| panic!("{class}: {error}"));
                as_before(&now);
                assert!(now.secret.as_ref().is_err_and(|said| said.contains(name)), "{class}: {:?}", now.secret);
            }
        }
    }
}
