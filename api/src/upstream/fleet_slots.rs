//! The open conversations of one server of the fleet: who owns which, and which can be spared.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::conversation::Conversation;
use super::{Era, SessionKey};

/// What is known of a server and open with it.
#[derive(Default)]
pub(super) struct State {
    pub(super) slots: Vec<Slot>,
    /// Numbers of instances that are open, being opened, or being closed.
    pub(super) numbers: BTreeSet<u32>,
    pub(super) opening: BTreeMap<u32, SystemTime>,
    pub(super) era: Option<Era>,
    pub(super) ever_opened: bool,
    pub(super) backoff: Backoff,
    pub(super) last_error: Option<String>,
    pub(super) failed_at: Option<SystemTime>,
    pub(super) restarts: BTreeMap<u32, u32>,
}

/// One open conversation.
pub(super) struct Slot {
    pub(super) number: u32,
    pub(super) owner: Owner,
    pub(super) conversation: Arc<dyn Conversation>,
    pub(super) since: SystemTime,
    pub(super) opened: Instant,
    /// When it was probed last.
    pub(super) probed: Option<Instant>,
    /// Probes that failed in a row.
    pub(super) probes_failed: u32,
    /// Cancel to close it.
    pub(super) close: CancellationToken,
    /// Set when it is closed and nothing is left of it.
    pub(super) gone: CancellationToken,
}

/// Who may use a conversation.
#[derive(PartialEq)]
pub(super) enum Owner {
    /// Modern: no state, so all share it.
    Anyone,
    /// A warm copy of a legacy server, for the first who needs it.
    Nobody,
    /// One key's.
    Key(SessionKey),
}

/// A conversation that is to end.
pub(super) struct Closing {
    pub(super) close: CancellationToken,
    pub(super) gone: CancellationToken,
}

impl Closing {
    pub(super) async fn close(&self) {
        self.close.cancel();
        self.gone.cancelled().await;
    }
}

impl Slot {
    pub(super) fn usable(&self) -> bool {
        self.conversation.is_open() && !self.close.is_cancelled()
    }

    /// Marks it as closing, so that nobody is given it any more.
    pub(super) fn closing(&self) -> Closing {
        self.close.cancel();
        Closing { close: self.close.clone(), gone: self.gone.clone() }
    }
}

impl State {
    pub(super) fn take_number(&mut self) -> u32 {
        let number = (0..).find(|n| !self.numbers.contains(n)).expect("there are more numbers than instances");
        self.numbers.insert(number);
        self.opening.insert(number, SystemTime::now());
        number
    }

    /// The key's own conversation; else a warm one, which becomes its own.
    pub(super) fn of_key(&mut self, key: &SessionKey) -> Option<&Slot> {
        let own = self.slots.iter().position(|s| s.usable() && matches!(&s.owner, Owner::Key(owner) if owner == key));
        let warm = || self.slots.iter().position(|s| s.usable() && s.owner == Owner::Nobody);
        let at = own.or_else(|| if key.capabilities.is_none() { warm() } else { None })?;
        let slot = &mut self.slots[at];
        if slot.owner == Owner::Nobody {
            slot.owner = Owner::Key(key.clone());
        }
        Some(slot)
    }

    /// The conversation that can best be done without: a warm one that the asking key could not take, or the longest idle.
    pub(super) fn spare(&self, after: Duration) -> Option<Closing> {
        let idle = |slot: &Slot| slot.conversation.activity().idle();
        let spare = |slot: &&Slot| match slot.owner {
            _ if !slot.usable() => false,
            Owner::Anyone => false,
            Owner::Nobody => true,
            Owner::Key(_) => idle(slot) >= after,
        };
        self.slots.iter().filter(spare).max_by_key(|s| (s.owner == Owner::Nobody, idle(s))).map(Slot::closing)
    }

    /// Conversations that nobody used for so long: those of keys, and those of nobody beyond what is kept warm.
    pub(super) fn idle(&self, limit: Duration, warm: usize) -> Vec<Closing> {
        let idle = |slot: &&Slot| slot.usable() && slot.conversation.activity().idle() >= limit;
        let (owned, common): (Vec<_>, Vec<_>) =
            self.slots.iter().filter(idle).partition(|slot| matches!(slot.owner, Owner::Key(_)));
        let surplus = self.slots.len().saturating_sub(owned.len()).saturating_sub(warm);
        owned.into_iter().chain(common.into_iter().take(surplus)).map(Slot::closing).collect()
    }

    pub(super) fn closing(&self, which: impl Fn(&Slot) -> bool) -> Vec<Closing> {
        self.slots.iter().filter(|slot| which(slot)).map(Slot::closing).collect()
    }

    pub(super) fn failed(&mut self, why: String) {
        self.backoff.failed();
        self.failed_at = Some(SystemTime::now());
        self.last_error = Some(why);
    }
}
