//! Passwords: argon2id, at most as many at once as cores, and the same work for users that don't exist.
use std::sync::Arc;
use std::time::Duration;

use argon2::{Algorithm, Argon2, Params, Version};
use mcpctl_core::kinds::{PasswordVersion, User};
use mcpctl_core::plaintext::Plaintext;
use subtle::ConstantTimeEq as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::sealed_store::{Purpose, SealError, SealedStore};
use crate::server::clock;

const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;
/// 19 MiB, two passes, one lane: what OWASP gives as the floor for argon2id.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
/// Most who may wait for their turn; whoever comes then is sent away at once.
const WAITING_MAX: usize = 64;
/// How long one may wait for a turn.
const WAIT: Duration = Duration::from_secs(10);

/// Why a password was not hashed.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// Too many are hashed at the moment.
    #[error("too many passwords are checked at the moment: try again in a few seconds")]
    Busy,
    /// The sealed store failed.
    #[error(transparent)]
    Sealed(#[from] SealError),
}

/// Hashes and checks passwords. Hashes lie in the sealed store; the log has a commitment.
pub struct Passwords {
    store: Arc<SealedStore>,
    at_once: Arc<Semaphore>,
    waiting: Semaphore,
}

/// A turn at hashing. It lasts until the hash is done, whether or not somebody still waits for the answer: otherwise
/// requests that are given up at once would add up to any amount of memory.
pub struct Turn(#[expect(dead_code, reason = "it is held, and given back when dropped")] OwnedSemaphorePermit);

impl Passwords {
    /// With as many hashes at once as there are cores.
    #[must_use]
    pub fn new(store: Arc<SealedStore>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { store, at_once: Arc::new(Semaphore::new(cores)), waiting: Semaphore::new(WAITING_MAX) }
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// When too many wait already, or it takes too long.
    pub async fn turn(&self) -> Result<Turn, PasswordError> {
        let _place = self.waiting.try_acquire().map_err(|_| PasswordError::Busy)?;
        match tokio::time::timeout(WAIT, self.at_once.clone().acquire_owned()).await {
            Ok(permit) => Ok(Turn(permit.expect("the semaphore is never closed"))),
            Err(_) => Err(PasswordError::Busy),
        }
    }

    /// Hashes a password and seals the hash as the version after `current`.
    ///
    /// # Errors
    /// When the sealed store can't be written, or too many are hashed already.
    pub async fn set(&self, password: &Plaintext, current: u32) -> Result<PasswordVersion, PasswordError> {
        let salt = clock::random::<SALT_BYTES>();
        let hash = hash(self.turn().await?, password.clone(), salt).await;
        let commitment = self.store.seal(Purpose::Password, &[salt.as_slice(), &hash].concat())?;
        Ok(PasswordVersion { version: current.saturating_add(1), commitment })
    }

    /// Whether a password is the one of this user. For no user, and for one without a password, the same work is done
    /// and the answer is no.
    pub async fn check(&self, turn: Turn, user: Option<&PasswordVersion>, password: &Plaintext) -> bool {
        let sealed = user.and_then(|version| self.store.unseal(Purpose::Password, &version.commitment).ok());
        let (salt, expected) = match sealed.as_deref() {
            Some(bytes) if bytes.len() == SALT_BYTES + HASH_BYTES => {
                let (salt, hash) = bytes.split_at(SALT_BYTES);
                (salt.try_into().unwrap_or([0; SALT_BYTES]), Some(hash.to_vec()))
            }
            _ => ([0; SALT_BYTES], None),
        };
        let hash = hash(turn, password.clone(), salt).await;
        expected.is_some_and(|expected| bool::from(expected.as_slice().ct_eq(&hash)))
    }
}

async fn hash(turn: Turn, password: Plaintext, salt: [u8; SALT_BYTES]) -> [u8; HASH_BYTES] {
    let work = move || {
        let params =
            Params::new(MEMORY_KIB, PASSES, 1, Some(HASH_BYTES)).expect("the parameters are within argon2's limits");
        let mut hash = [0u8; HASH_BYTES];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(password.expose().as_bytes(), &salt, &mut hash)
            .expect("salt and output have lengths that argon2 takes");
        drop(turn);
        hash
    };
    tokio::task::spawn_blocking(work).await.expect("hashing does not panic")
}

/// The password of a user object, if it has one.
#[must_use]
pub fn version_of(object: Option<&mcpctl_core::object::Object>) -> Option<PasswordVersion> {
    object?.of::<User>()?.1.password.clone()
}
