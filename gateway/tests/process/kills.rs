//! A control plane and a gateway that are killed again and again under load: every call that was answered is on record.
//!
//! `MCPCTL_KILLS` says how often, 200 without it; half of them are the control plane's. The ledger of what was answered is
//! kept out here.
use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::rig::{Control, Link};
use crate::{Mcplocal, modern};

/// Callers, each with a token of its own.
const CALLERS: usize = 4;
/// Answered calls between two kills.
const BEFORE_KILL: u64 = 10;
/// After so many kills it is looked whether all is on record, and at the end: what waits is delivered before it goes on.
const ALL_EVERY: usize = 50;

/// How many calls of each token were answered.
type Ledger = Arc<HashMap<String, AtomicU64>>;

struct House {
    data: tempfile::TempDir,
    cache: tempfile::TempDir,
    control: Control,
    link: Link,
    gateway: Option<Mcplocal>,
    /// Where the gateway is now.
    address: Arc<Mutex<String>>,
    ledger: Ledger,
    /// The last answer that was none, for when there are no others.
    refused: Arc<Mutex<String>>,
}

pub fn start_gateway(link: &Link, cache: &Path) -> Mcplocal {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcplocal"));
    command.args(["serve", "--port", "0"]).env("MCPLOCAL_CACHE_DIR", cache);
    Mcplocal::start_by(command, &format!("http://{}", link.address))
}

impl House {
    async fn start() -> Self {
        let (data, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let control = Control::start(data.path()).await;
        let link = Link::new(control.address).await;
        let gateway = start_gateway(&link, cache.path());
        let address = Arc::new(Mutex::new(gateway.address.clone()));
        let ledger = (0..CALLERS).map(|n| (format!("k-{n}"), AtomicU64::new(0))).collect();
        Self {
            data,
            cache,
            control,
            link,
            gateway: Some(gateway),
            address,
            ledger: Arc::new(ledger),
            refused: Arc::default(),
        }
    }

    async fn callers(&self, stop: &Arc<AtomicBool>) -> Vec<JoinHandle<()>> {
        let names: Vec<String> = (0..CALLERS).map(|n| format!("k-{n}")).collect();
        let tokens = self.control.tokens(names.iter().cloned(), None).await;
        let caller = |(name, token): (String, String)| {
            let (address, ledger, stop) = (self.address.clone(), self.ledger.clone(), stop.clone());
            let (refused, control) = (self.refused.clone(), format!("http://{}", self.link.address));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let here = address.lock().clone();
                    let call = json!({ "name": "whoami", "arguments": {} });
                    let (status, body) = modern(&here, &token, "tools/call", call).await;
                    if status == 200 && body["result"]["content"].is_array() && body["result"]["isError"] != true {
                        ledger[&name].fetch_add(1, Ordering::Relaxed);
                    } else {
                        *refused.lock() = format!("{name} at {here}: {status} {body}");
                        until_well(&address, &control, &stop).await;
                    }
                }
            })
        };
        names.into_iter().zip(tokens).map(caller).collect()
    }

    fn answered(&self) -> u64 {
        self.ledger.values().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    async fn until_answered(&self, count: u64) {
        let began = Instant::now();
        while self.answered() < count {
            assert!(began.elapsed() < Duration::from_secs(60), "{}", self.stuck(count));
            tokio::task::yield_now().await;
        }
    }

    /// What is to be known when no call is answered.
    fn stuck(&self, count: u64) -> String {
        let said = self.gateway.as_ref().map(|gateway| gateway.said.lock().join("\n"));
        let (answered, refused) = (self.answered(), self.refused.lock());
        format!("{answered} of {count} calls were answered; the last refusal: {refused}\n{}", said.unwrap_or_default())
    }

    fn kill_gateway(&mut self) {
        drop(self.gateway.take());
        let gateway = start_gateway(&self.link, self.cache.path());
        (*self.address.lock()).clone_from(&gateway.address);
        self.gateway = Some(gateway);
    }

    fn kill_control_plane(&mut self) {
        self.control.kill_and_start(self.data.path());
        self.link.leads_to(self.control.address);
    }

    /// Every call that was answered is on record, under the token that made it.
    async fn all_is_on_record(&self) {
        for (name, count) in &*self.ledger {
            let answered = count.load(Ordering::Relaxed);
            let began = Instant::now();
            let recorded = loop {
                let of_token = format!("kind=call&outcome=ok&tokenName={name}");
                let recorded = self.control.audited(&of_token).await.len() as u64;
                // The rest may wait in the gateway's spool.
                if recorded >= answered || began.elapsed() > Duration::from_secs(60) {
                    break recorded;
                }
            };
            assert!(recorded >= answered, "{name}: {answered} calls were answered, and {recorded} are on record");
            // One at a time is on its way when something is killed; and the callers may go on.
            let (kills, answered) = (kills() as u64 + 1, count.load(Ordering::Relaxed));
            assert!(recorded <= answered + kills, "{name}: {answered} were answered, and {recorded} are on record");
        }
    }
}

/// A caller that was not answered calls again when gateway and control plane say that they are well. Nobody writes down that
/// it asks.
async fn until_well(gateway: &Mutex<String>, control: &str, stop: &AtomicBool) {
    static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
        reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).pool_max_idle_per_host(0).build().unwrap()
    });
    let is_well = async |address: String| {
        let answer = CLIENT.get(format!("{address}/healthz")).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    };
    while !stop.load(Ordering::Relaxed) {
        let address = gateway.lock().clone();
        if is_well(address).await && is_well(control.to_owned()).await {
            return;
        }
        tokio::task::yield_now().await;
    }
}

fn kills() -> usize {
    std::env::var("MCPCTL_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(200)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_that_was_answered_is_on_record_however_often_gateway_and_control_plane_are_killed() {
    let mut house = House::start().await;
    let stop = Arc::new(AtomicBool::new(false));
    let callers = house.callers(&stop).await;
    let began = Instant::now();
    for kill in 0..kills() {
        house.until_answered(house.answered() + BEFORE_KILL).await;
        if kill % 2 == 0 {
            house.kill_gateway()
        } else {
            house.kill_control_plane()
        }
        if (kill + 1) % ALL_EVERY == 0 {
            house.all_is_on_record().await;
            println!("{} kills, {} calls answered, {:?}", kill + 1, house.answered(), began.elapsed());
        }
    }
    house.until_answered(house.answered() + BEFORE_KILL).await;
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
    house.all_is_on_record().await;
    println!("{} kills, {} calls answered, all on record, in {:?}", kills(), house.answered(), began.elapsed());
}
