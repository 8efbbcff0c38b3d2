//! The data folder of each release, as a running control plane left it: every later release opens it, finds all of it, and
//! proves what that release signed.
//!
//! `MCPCTL_RECORD_LOG=1 cargo nextest run -p mcpctl-api -E 'test(data_folder_of_every_release)'` writes that of this release,
//! once. Its keys sign and seal nothing else.
use std::path::{Path, PathBuf};
use std::process::Command;

use mcpctl_api::server::control_plane::ControlPlane;
use mcpctl_api::server::effects::sealed_store::Purpose;
use mcpctl_api::server::evidence::{LogName, verify};
use mcpctl_core::ids::{Digest, Seq};
use mcpctl_core::record::{RECORD_VERSION, Record};
use serde_json::{Value, json};

use crate::house::House;

const SECRET: &str = "golden-canary";

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/data")
}

fn tar(args: &[&str], folder: &Path) {
    let done = Command::new("tar").args(args).arg("-C").arg(folder).arg("data").status().unwrap();
    assert!(done.success(), "tar {args:?}");
}

/// What is in a folder: every event, every audit entry, what the logs were at those sizes, and that the secret opens.
async fn found(data: &Path) -> Value {
    let logs = LogName::ALL.map(|log| {
        let seen = verify(data, log, true).unwrap_or_else(|error| panic!("{log}: {error}"));
        assert_eq!(seen.repairable, [] as [String; 0], "{log}");
        json!({ "origin": seen.origin, "size": seen.records, "root": seen.root, "signed": seen.checkpoint, "erased": seen.erased })
    });
    let control = ControlPlane::open(data).await.unwrap();
    let app = control.app().clone();
    let mut events = Vec::new();
    let mut read = |seq: Seq, bytes: &[u8]| {
        let header = Record::load(bytes).unwrap().header;
        events.push(format!("{seq} {} {}/{} {}", Digest::blake3(bytes), header.kind, header.name, header.event));
        true
    };
    app.log.scan(Seq(1), &mut read).unwrap();
    let mut entries = Vec::new();
    app.audit
        .each(&mut |position, entry| {
            let entry = entry.expect("it can be read");
            entries.push(format!("{position} {} {} {} {:?}", entry.kind, entry.method, entry.outcome, entry.reason));
            true
        })
        .unwrap();
    let sealed = std::fs::read_dir(data.join("sealed")).unwrap().map(|file| file.unwrap().file_name());
    let sealed: Vec<Digest> = sealed.map(|name| name.to_str().unwrap().parse().unwrap()).collect();
    let opened = sealed.iter().filter_map(|name| app.sealed.unseal(Purpose::Secret, name).ok());
    let opened: Vec<String> = opened.map(|value| String::from_utf8_lossy(&value).into_owned()).collect();
    assert!(opened.len() == 1 && opened[0].contains(SECRET), "the secret opens");
    sealed.iter().for_each(|name| app.sealed.check(name).unwrap());
    let anchored = app.published.load().anchored().map(|(seq, anchor)| json!({ "seq": seq, "audit": anchor.size }));
    drop(app);
    control.shutdown().await;
    json!({ "logs": logs, "events": events, "entries": entries, "sealed": sealed.len(), "anchored": anchored })
}

/// A folder in which something of everything lies.
async fn recorded() -> tempfile::TempDir {
    let house = House::start().await;
    house.person("alice@example.com").await;
    assert_ne!(house.log_in("alice@example.com", "wrong password").await.status, 200);
    house.put("/secrets/db", json!({ "data": { "password": SECRET } })).await.is(201);
    house.put("/servers/far", json!({ "externalUrl": "https://example.com/mcp" })).await.is(201);
    house.put("/projects/web", json!({ "servers": ["far"], "members": ["alice@example.com"] })).await.is(201);
    let token = house.token("web", "ci").await;
    house.by(Some(&token), "GET", "/api/v1/projects/web/view").send().await.is(200);
    house.by(Some(&token), "GET", "/api/v1/users").send().await.is(403);
    house.get("/audit/events").await.is(200);
    house.post("/audit/erase", json!({ "subject": "User:alice@example.com" })).await.is(200);
    // The next change says where the audit log stands.
    crate::start::until("the audit log is signed", async || house.control.app().audit_evidence.anchor().is_some())
        .await;
    house.put("/groups/ops", json!({ "members": ["alice@example.com"] })).await.is(201);
    house.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_data_folder_of_every_release_opens_and_holds_what_it_held() {
    if std::env::var_os("MCPCTL_RECORD_LOG").is_some() {
        let folder = recorded().await;
        std::fs::create_dir_all(fixtures()).unwrap();
        let packed = fixtures().join(format!("v{RECORD_VERSION}.tar.gz"));
        tar(&["--owner=0", "--group=0", "--sort=name", "-czf", packed.to_str().unwrap()], folder.path());
        let found = serde_json::to_string_pretty(&found(&folder.path().join("data")).await).unwrap();
        std::fs::write(fixtures().join(format!("v{RECORD_VERSION}.json")), found + "\n").unwrap();
    }
    let mut releases = 0;
    for file in std::fs::read_dir(fixtures()).unwrap().map(|file| file.unwrap().path()) {
        if file.extension().is_none_or(|end| end != "gz") {
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        let name = file.to_str().unwrap();
        tar(&["--no-same-owner", "-xpzf", name], folder.path());
        let expected = std::fs::read(name.replace(".tar.gz", ".json")).unwrap();
        let expected: Value = serde_json::from_slice(&expected).unwrap();
        let data = folder.path().join("data");
        assert_eq!(found(&data).await, expected, "{name}");
        // It goes on, and what was signed is a part of what is signed now.
        let house = House::on(folder).await;
        assert!(house.first.is_none(), "{name}: it is not the first start");
        house.put("/groups/later", json!({})).await.is(201);
        house.stop().await;
        releases += 1;
    }
    assert!(releases > 0, "there is at least the one of version {RECORD_VERSION}");
}
