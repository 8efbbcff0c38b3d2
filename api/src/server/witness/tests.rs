//! Witnesses over real HTTP: they cosign what goes on, and a log that was forked, cut or is unknown is an alarm.
use std::path::Path;
use std::time::Duration;

use mcpctl_tlog::LogSigner;
use mcpctl_tlog::policy::Policy;

use super::*;
use crate::server::evidence::testing::House;
use crate::server::evidence::witnesses::{self, Witnesses};
use crate::server::evidence::{Evidence, LogName};

pub(super) struct Served {
    pub(super) witness: Arc<Witness>,
    pub(super) url: String,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Served {
    pub(super) async fn at(folder: &Path, logs: Vec<LogKey>) -> Self {
        let witness = Arc::new(Witness::open(folder, "w.example.com", logs).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let task = tokio::spawn(witness.clone().serve(listener, stop.clone()));
        Self { witness, url, stop, task }
    }

    pub(super) async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }

    fn added_to(&self, house: &House) {
        let key = self.witness.key().as_str();
        let _ = std::fs::remove_file(house.path().join(witnesses::POLICY_FILE));
        witnesses::add(&house.path(), "w", key, Some(&self.url), None).unwrap();
    }
}

/// Follows until something is so.
pub(super) async fn until(
    house: &House,
    evidence: &Arc<Evidence>,
    what: &str,
    so: impl Fn(&Witnesses) -> bool,
) -> Arc<Witnesses> {
    let (witnesses, stop) = (Arc::new(Witnesses::of(&house.path())), CancellationToken::new());
    let following = tokio::spawn(witnesses.clone().follow(vec![evidence.clone()], stop.clone()));
    let until = tokio::time::Instant::now() + Duration::from_secs(20);
    while !so(&witnesses) {
        assert!(tokio::time::Instant::now() < until, "{what}: {:?} {:?}", witnesses.alarms(), witnesses.silent());
        tokio::task::yield_now().await;
    }
    stop.cancel();
    following.await.unwrap();
    witnesses
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_cosigned_as_it_grows_and_a_witness_that_was_restarted_remembers() {
    let (mut house, folder) = (House::with(20), tempfile::tempdir().unwrap());
    let evidence = Arc::new(house.level());
    let key = evidence.key().clone();
    let served = Served::at(folder.path(), vec![key.clone()]).await;
    served.added_to(&house);
    let witnesses = until(&house, &evidence, "it is cosigned", |seen| seen.witnessed(LogName::Config) == 20).await;
    let note = witnesses.note(LogName::Config).unwrap();
    assert_eq!(key.open(&note).unwrap().size, 20, "the log's signature is still there");
    assert!(served.witness.key().cosigned(&note).is_some());
    let policy = std::fs::read_to_string(house.path().join(witnesses::POLICY_FILE)).unwrap();
    assert!(Policy::read(&policy).unwrap().satisfied(&note));
    served.end().await;
    let again = Served::at(folder.path(), vec![key]).await;
    again.added_to(&house);
    house.append(30);
    evidence.catch_up(50).unwrap();
    // The log has forgotten what the witness saw, and is told.
    let witnesses = until(&house, &evidence, "it goes on", |seen| seen.witnessed(LogName::Config) == 50).await;
    assert!(witnesses.alarms().is_empty() && witnesses.silent().is_empty());
    again.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_forked_cut_or_is_not_watched_is_refused_and_that_is_an_alarm() {
    let (genuine, folder) = (House::with(30), tempfile::tempdir().unwrap());
    let evidence = Arc::new(genuine.level());
    let served = Served::at(folder.path(), vec![evidence.key().clone()]).await;
    served.added_to(&genuine);
    until(&genuine, &evidence, "it is cosigned", |seen| seen.witnessed(LogName::Config) == 30).await;
    let same_key = |house: House| {
        std::fs::copy(genuine.path().join("log.key"), house.path().join("log.key")).unwrap();
        served.added_to(&house);
        house
    };
    for (house, says) in [
        (same_key(House::forged(40)), "does not go on"),
        (same_key(House::forged(30)), "another log of 30 entries"),
        (same_key(House::with(10)), "entries were taken away"),
    ] {
        let forged = Arc::new(house.level());
        let seen = until(&house, &forged, says, |seen| !seen.alarms().is_empty()).await;
        assert!(seen.alarms()[0].contains(says), "{:?}", seen.alarms());
        assert!(seen.note(LogName::Config).is_none(), "nothing without the quorum");
    }
    let stranger = House::with(5);
    served.added_to(&stranger);
    let seen = until(&stranger, &Arc::new(stranger.level()), "unknown", |seen| !seen.alarms().is_empty()).await;
    assert!(seen.alarms()[0].contains("404"), "{:?}", seen.alarms());
    served.end().await;
    let unheard = until(&genuine, &evidence, "silence is told", |seen| !seen.silent().is_empty()).await;
    assert!(unheard.alarms().is_empty(), "silence is no refusal");
}

#[test]
fn what_was_seen_is_not_forgotten_when_a_file_is_damaged_and_two_witnesses_do_not_share_it() {
    let folder = tempfile::tempdir().unwrap();
    let log = LogSigner::read(&LogSigner::generate("example.com/log", &[1; 32]).unwrap()).unwrap();
    let witness = Witness::open(folder.path(), "w.example.com", vec![log.key().clone()]).unwrap();
    let request = |size: u64, of: &[u8]| {
        let note = log.sign(size, mcpctl_tlog::record_hash(of)).unwrap();
        AddCheckpoint { old: 0, proof: Vec::new(), note }.to_bytes()
    };
    witness.add(&request(1, b"a")).unwrap();
    assert!(matches!(
        witness.add(&request(1, b"b")),
        Err(NotCosigned::Refused(Refused::Conflict { seen: 1, forked: true }))
    ));
    let open = |name: &str| Witness::open(folder.path(), name, vec![log.key().clone()]);
    assert!(matches!(open("w.example.com"), Err(StoreError::InUse(_))));
    drop(witness);
    assert!(matches!(open("other.example.com"), Err(StoreError::OtherName { .. })));
    let file = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let file = file.filter(|path| path.extension().is_some_and(|end| end == "checkpoint")).last().unwrap();
    std::fs::write(&file, b"nothing").unwrap();
    let witness = open("w.example.com").unwrap();
    assert!(matches!(witness.add(&request(1, b"b")), Err(NotCosigned::Store(StoreError::Damaged { .. }))));
}
