//! What all sessions share: what changed, which tools and prompts exist just now, and what arrived.
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use rmcp::model::RequestStateCodec;
use rmcp::task_manager::TaskManager;
use tokio::sync::broadcast;

/// Something that subscribers hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Tools,
    Prompts,
    Resource(String),
}

pub struct Board {
    changes: broadcast::Sender<Change>,
    calls: Mutex<BTreeMap<String, u64>>,
    extra_tool: AtomicBool,
    extra_prompt: AtomicBool,
    /// Seals `requestState` with a key of this process.
    pub seal: RequestStateCodec,
    pub tasks: TaskManager,
}

impl Board {
    pub fn new() -> Self {
        let mut key = [0; 32];
        getrandom::fill(&mut key).expect("the system has randomness");
        Self {
            changes: broadcast::channel(64).0,
            calls: Mutex::default(),
            extra_tool: AtomicBool::new(false),
            extra_prompt: AtomicBool::new(false),
            seal: RequestStateCodec::try_new(key).expect("the key is long enough"),
            tasks: TaskManager::new(),
        }
    }

    /// Changes from now on.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// Adds the extra tool, or takes it away again, and says so.
    pub fn change_tools(&self) {
        self.extra_tool.fetch_xor(true, Ordering::SeqCst);
        self.tell(Change::Tools);
    }

    /// Adds the extra prompt, or takes it away again, and says so.
    pub fn change_prompts(&self) {
        self.extra_prompt.fetch_xor(true, Ordering::SeqCst);
        self.tell(Change::Prompts);
    }

    pub fn change_resource(&self, uri: &str) {
        self.tell(Change::Resource(uri.to_owned()));
    }

    pub fn has_extra_tool(&self) -> bool {
        self.extra_tool.load(Ordering::SeqCst)
    }

    pub fn has_extra_prompt(&self) -> bool {
        self.extra_prompt.load(Ordering::SeqCst)
    }

    /// Counts a request that arrived.
    pub fn count(&self, what: String) {
        *self.calls.lock().unwrap().entry(what).or_default() += 1;
    }

    pub fn calls(&self) -> BTreeMap<String, u64> {
        self.calls.lock().unwrap().clone()
    }

    fn tell(&self, change: Change) {
        // Nobody listens: then nobody has to hear of it.
        let _ = self.changes.send(change);
    }
}
