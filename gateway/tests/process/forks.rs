//! A control plane whose log is not the one that a gateway served by: a real `mcplocal` refuses it, says so wherever one looks,
//! and goes on refusing over its own restart and after the true log is back, until a person decides.
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::kills::start_gateway;
use crate::rig::{Control, Link, figure_of};
use crate::{Mcplocal, modern};

const REFUSED: &str = "THE CONTROL PLANE IS REFUSED";
const FIGURE: &str = "mcpctl_gateway_control_plane_refused";

/// How somebody who holds the disk changes the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Evil {
    /// It ends earlier: an older copy of the folder.
    Truncated,
    /// It goes on otherwise from there, and is longer.
    Forked,
    /// The same events, signed by another key of the same name.
    ReSigned,
}

struct House {
    data: tempfile::TempDir,
    cache: tempfile::TempDir,
    control: Control,
    link: Link,
    token: String,
}

/// Waits for something on the disk or in a process.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "never: {what}");
        tokio::task::yield_now().await;
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

/// The file in which a gateway remembers the log.
fn memory(cache: &Path) -> Option<PathBuf> {
    let mut files = fs::read_dir(cache).unwrap().map(|file| file.unwrap().path());
    files.find(|path| path.extension().is_some_and(|ending| ending == "json"))
}

fn kept(cache: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(memory(cache)?).ok()?).ok()
}

impl House {
    /// A control plane, an older copy of its folder, and what a gateway saw since.
    async fn lived() -> (Self, PathBuf) {
        let (data, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut control = Control::start(&data.path().join("now")).await;
        let token = control.tokens(["ci".to_owned()].into_iter(), None).await.remove(0);
        let older = data.path().join("older");
        control.kill();
        copy(&data.path().join("now"), &older);
        control.start_again(&data.path().join("now"), None);
        let link = Link::new(control.address).await;
        let house = Self { data, cache, control, link, token };
        let gateway = start_gateway(&house.link, house.cache.path());
        assert_eq!(house.call(&gateway).await.0, 200);
        house.grow("honest", 3).await;
        let seen = || kept(house.cache.path()).filter(|kept| kept["checkpoint"].is_string() && kept["seq"].is_u64());
        until("a signed checkpoint is kept", async || seen()).await;
        // It sees the end of the log as well: a new start asks for both.
        drop(gateway);
        let gateway = start_gateway(&house.link, house.cache.path());
        assert_eq!(house.call(&gateway).await.0, 200);
        let head = house.control.figure("mcpctl_log_head").await;
        until("the end of the log is kept", async || seen().filter(|kept| kept["seq"].as_f64() >= Some(head))).await;
        drop(gateway);
        (house, older)
    }

    async fn grow(&self, name: &str, count: usize) {
        let groups: Vec<Value> =
            (0..count).map(|n| json!({ "kind": "group", "name": format!("{name}-{n}") })).collect();
        self.control.apply(&groups).await;
    }

    async fn call(&self, gateway: &Mcplocal) -> (u16, Value) {
        modern(&gateway.address, &self.token, "tools/call", json!({ "name": "whoami", "arguments": {} })).await
    }

    /// Puts another control plane in the place of the true one.
    async fn replace(&mut self, older: &Path, evil: Evil) {
        self.control.kill();
        match evil {
            Evil::Truncated => self.control.start_again(older, None),
            Evil::Forked => {
                self.control.start_again(older, None);
                self.grow("forged", 9).await;
            }
            Evil::ReSigned => {
                let other = self.data.path().join("other");
                copy(&self.data.path().join("now"), &other);
                fs::remove_file(other.join("log.key")).unwrap();
                fs::remove_dir_all(other.join("tlog/config")).unwrap();
                let key = kept(self.cache.path()).unwrap()["key"].as_str().unwrap().to_owned();
                self.control.start_again(&other, key.split('+').next());
            }
        }
        self.link.leads_to(self.control.address);
    }

    /// Every place where one may look says that this gateway refuses its control plane.
    async fn is_refused_by(&self, gateway: &Mcplocal, why: &str) {
        let (status, line) = until("its log says so", async || {
            let (status, _) = self.call(gateway).await;
            gateway.says(REFUSED).filter(|_| status != 200).map(|line| (status, line))
        })
        .await;
        assert_eq!(status, 503, "{line}");
        assert!(line.contains(why), "{line}");
        assert!((figure_of(&gateway.address, FIGURE).await - 1.0).abs() < f64::EPSILON);
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let health = client.get(format!("{}/healthz", gateway.address)).send().await.unwrap();
        assert_eq!(health.status(), 503);
        let health: Value = health.json().await.unwrap();
        assert_eq!(health["type"], "urn:mcpctl:problem:control-plane-refused");
        assert!(health["detail"].as_str().unwrap().contains(why), "{health}");
        let found = kept(self.cache.path()).unwrap();
        assert!(found["refused"].as_str().is_some_and(|said| said.contains(why)), "{found}");
    }
}

async fn refused(evil: Evil, why: &str) {
    let (mut house, older) = House::lived().await;
    let gateway = start_gateway(&house.link, house.cache.path());
    assert_eq!(house.call(&gateway).await.0, 200, "the log goes on from what was seen");
    assert!(figure_of(&gateway.address, FIGURE).await.abs() < f64::EPSILON);
    house.replace(&older, evil).await;
    house.is_refused_by(&gateway, why).await;
    // The forged one learns nothing of the calls that were refused.
    let served = house.control.audited("kind=call&tokenName=ci").await.len();
    for _ in 0..5 {
        assert_eq!(house.call(&gateway).await.0, 503, "{evil:?}");
    }
    assert_eq!(house.control.audited("kind=call&tokenName=ci").await.len(), served, "{evil:?}");
    // A restart forgets nothing, and says so before anybody calls.
    drop(gateway);
    let gateway = start_gateway(&house.link, house.cache.path());
    until("it says so at its start", async || gateway.says(REFUSED)).await;
    house.is_refused_by(&gateway, why).await;
    // The true log is back: what happened in between is for a person to look at.
    house.control.kill();
    house.control.start_again(&house.data.path().join("now"), None);
    house.link.leads_to(house.control.address);
    house.is_refused_by(&gateway, why).await;
    drop(gateway);
    fs::remove_file(memory(house.cache.path()).unwrap()).unwrap();
    let gateway = start_gateway(&house.link, house.cache.path());
    assert_eq!(house.call(&gateway).await.0, 200, "a person has decided");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_that_was_set_back_to_an_older_copy_is_refused_until_a_person_decides() {
    refused(Evil::Truncated, "ends before it").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_whose_log_was_forked_is_refused_until_a_person_decides() {
    refused(Evil::Forked, "it was forked").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_that_signs_with_another_key_is_refused_until_a_person_decides() {
    refused(Evil::ReSigned, "its key was").await;
}
