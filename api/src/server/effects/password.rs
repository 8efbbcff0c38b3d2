//! Passwords: argon2id, at most as many at once as cores, and the same work for users that don't exist.
use std::sync::Arc;

use argon2::{Algorithm, Argon2, Params, Version};
use mcpctl_core::kinds::{PasswordVersion, User};
use mcpctl_core::plaintext::Plaintext;
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;

use super::sealed_store::{Purpose, SealError, SealedStore};
use crate::server::clock;

const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;
/// 19 MiB, two passes, one lane: what OWASP gives as the floor for argon2id.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;

/// Hashes and checks passwords. Hashes lie in the sealed store; the log has a commitment.
pub struct Passwords {
    store: Arc<SealedStore>,
    at_once: Semaphore,
}

impl Passwords {
    /// With as many hashes at once as there are cores.
    #[must_use]
    pub fn new(store: Arc<SealedStore>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { store, at_once: Semaphore::new(cores) }
    }

    /// Hashes a password and seals the hash as the version after `current`.
    ///
    /// # Errors
    /// When the sealed store can't be written.
    pub async fn set(&self, password: &Plaintext, current: u32) -> Result<PasswordVersion, SealError> {
        let salt = clock::random::<SALT_BYTES>();
        let hash = self.hash(password.clone(), salt).await;
        let commitment = self.store.seal(Purpose::Password, &[salt.as_slice(), &hash].concat())?;
        Ok(PasswordVersion { version: current + 1, commitment })
    }

    /// Whether a password is the one of this user. For no user, and for one without a password, the same work is done
    /// and the answer is no.
    pub async fn check(&self, user: Option<&PasswordVersion>, password: &Plaintext) -> bool {
        let sealed = user.and_then(|version| self.store.unseal(Purpose::Password, &version.commitment).ok());
        let (salt, expected) = match sealed.as_deref() {
            Some(bytes) if bytes.len() == SALT_BYTES + HASH_BYTES => {
                let (salt, hash) = bytes.split_at(SALT_BYTES);
                (salt.try_into().unwrap_or([0; SALT_BYTES]), Some(hash.to_vec()))
            }
            _ => ([0; SALT_BYTES], None),
        };
        let hash = self.hash(password.clone(), salt).await;
        expected.is_some_and(|expected| bool::from(expected.as_slice().ct_eq(&hash)))
    }

    async fn hash(&self, password: Plaintext, salt: [u8; SALT_BYTES]) -> [u8; HASH_BYTES] {
        let _turn = self.at_once.acquire().await.expect("the semaphore is never closed");
        let work = move || {
            let params = Params::new(MEMORY_KIB, PASSES, 1, Some(HASH_BYTES))
                .expect("the parameters are within argon2's limits");
            let mut hash = [0u8; HASH_BYTES];
            Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
                .hash_password_into(password.expose().as_bytes(), &salt, &mut hash)
                .expect("salt and output have lengths that argon2 takes");
            hash
        };
        tokio::task::spawn_blocking(work).await.expect("hashing does not panic")
    }
}

/// The password of a user object, if it has one.
#[must_use]
pub fn version_of(object: Option<&mcpctl_core::object::Object>) -> Option<PasswordVersion> {
    object?.of::<User>()?.1.password.clone()
}
