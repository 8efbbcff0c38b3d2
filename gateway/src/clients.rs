//! All clients: legacy sessions by their id, callers without one by who they are. Bounded, and swept when idle.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mcpctl_core::ids::Uid;
use parking_lot::RwLock;

use crate::client::Client;

/// Random bytes of a session's id. The specification wants it unguessable; semantics.md asks for at least 16.
const ID_BYTES: usize = 24;
/// Callers without a session that are remembered.
const STATELESS_MAX: usize = 10_000;
/// Sets of capabilities of one of them that are told apart.
const DECLARED_MAX: usize = 8;

/// No further session can be opened now.
#[derive(Debug)]
pub(crate) struct Full;

/// Callers of a project without a session, one for each set of capabilities that a caller has declared.
type Stateless = HashMap<(Uid, Uid), Vec<Arc<Client>>>;

/// All clients.
#[derive(Default)]
pub(crate) struct Clients {
    sessions: RwLock<HashMap<Arc<str>, Arc<Client>>>,
    /// By project and subject.
    stateless: RwLock<Stateless>,
}

/// A new session's id.
pub(crate) fn new_id() -> Arc<str> {
    let mut bytes = [0u8; ID_BYTES];
    getrandom::fill(&mut bytes).expect("the system has randomness");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

impl Clients {
    /// Adds a session; its id is in the client's key. Gives back the session of the same caller that had to make room.
    pub(crate) fn open(&self, client: Arc<Client>, max: usize, of_one_max: usize) -> Result<Option<Arc<Client>>, Full> {
        let id = client.key.session.clone().ok_or(Full)?;
        let mut sessions = self.sessions.write();
        let own = sessions.iter().filter(|(_, one)| one.key.subject == client.key.subject);
        let own: Vec<_> = own.map(|(id, one)| (id.clone(), one.idle())).collect();
        let mut evicted = None;
        if own.len() >= of_one_max {
            let oldest = own.into_iter().max_by_key(|(_, idle)| *idle).map(|(id, _)| id);
            evicted = oldest.and_then(|oldest| sessions.remove(&oldest));
        }
        if sessions.len() >= max {
            return Err(Full);
        }
        sessions.insert(id, client);
        Ok(evicted)
    }

    /// The session of an id, if it belongs to this caller in this project. To anybody else it does not exist.
    pub(crate) fn find(&self, id: &str, project: Uid, subject: Uid) -> Option<Arc<Client>> {
        let sessions = self.sessions.read();
        sessions.get(id).filter(|one| one.key.project == project && one.key.subject == subject).cloned()
    }

    /// Takes a session off.
    pub(crate) fn close(&self, client: &Client) {
        if let Some(id) = &client.key.session {
            self.sessions.write().remove(id);
        }
    }

    /// A caller without a session, who declares these capabilities: a legacy server is opened for one set of them. The set
    /// idle for longest makes room; its client is given back to be ended.
    pub(crate) fn stateless(
        &self,
        (project, subject): (Uid, Uid),
        capabilities: Option<&str>,
        make: impl FnOnce() -> Arc<Client>,
    ) -> (Arc<Client>, Option<Arc<Client>>) {
        let same = |one: &&Arc<Client>| one.key.capabilities.as_deref() == capabilities;
        let known = |all: &Vec<Arc<Client>>| all.iter().find(same).cloned();
        if let Some(client) = self.stateless.read().get(&(project, subject)).and_then(known) {
            return (client, None);
        }
        let mut all = self.stateless.write();
        if all.len() >= STATELESS_MAX {
            // Served all the same, only nothing is remembered of it.
            return (make(), None);
        }
        let own = all.entry((project, subject)).or_default();
        if let Some(client) = known(own) {
            return (client, None);
        }
        let mut evicted = None;
        if own.len() >= DECLARED_MAX {
            let idle = own.iter().enumerate().map(|(index, one)| (one.idle(), index)).max();
            let Some((_, oldest)) = idle.filter(|(idle, _)| !idle.is_zero()) else { return (make(), None) };
            evicted = Some(own.swap_remove(oldest));
        }
        let client = make();
        own.push(client.clone());
        (client, evicted)
    }

    /// Takes off those that were not used for so long.
    pub(crate) fn sweep(&self, idle: Duration) -> Vec<Arc<Client>> {
        let mut ended: Vec<Arc<Client>> =
            self.sessions.write().extract_if(|_, client| client.idle() >= idle).map(|(_, client)| client).collect();
        let mut stateless = self.stateless.write();
        stateless.values_mut().for_each(|own| ended.extend(own.extract_if(.., |client| client.idle() >= idle)));
        stateless.retain(|_, own| !own.is_empty());
        ended
    }

    /// Looks after the streams of all sessions.
    pub(crate) fn sweep_streams(&self) {
        self.sessions.read().values().for_each(|client| client.sweep_streams());
    }

    /// How many sessions are open.
    pub(crate) fn count(&self) -> usize {
        self.sessions.read().len()
    }
}
