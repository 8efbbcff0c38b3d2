//! ID tokens that were used: each opens one login. What is remembered is as short as a token is taken.
use std::collections::HashMap;

use mcpctl_core::ids::Digest;
use mcpctl_core::time::Timestamp;
use parking_lot::Mutex;

use super::id_token::AGE_MAX_S;

/// Most tokens that are remembered: more sign-ins than these within a quarter of an hour are refused.
const USED_MAX: usize = 50_000;
/// A token is taken for ten minutes, and clocks may differ by one in both directions.
const REMEMBERED_MS: u64 = (AGE_MAX_S as u64 + 300) * 1000;

/// Tokens that were used lately.
#[derive(Default)]
pub(super) struct Used(Mutex<HashMap<Digest, Timestamp>>);

/// Whether a token may be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum First {
    /// It was not used before, and is now.
    Yes,
    /// It was.
    Again,
    /// There is no room to remember it.
    Full,
}

impl Used {
    /// Uses a token. Asked only for tokens that were found good, so that nobody fills the table with inventions.
    pub(super) fn take(&self, token: &str, now: Timestamp) -> First {
        let mut used = self.0.lock();
        let digest = Digest::sha256(token.as_bytes());
        if used.get(&digest).is_some_and(|at| now.since(*at) <= REMEMBERED_MS) {
            return First::Again;
        }
        if used.len() >= USED_MAX {
            used.retain(|_, at| now.since(*at) <= REMEMBERED_MS);
        }
        if used.len() >= USED_MAX {
            return First::Full;
        }
        used.insert(digest, now);
        First::Yes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_used_once_and_the_table_has_a_bound() {
        let (used, start) = (Used::default(), Timestamp::from_millis(1_800_000_000_000));
        assert_eq!(used.take("one", start), First::Yes);
        assert_eq!(used.take("one", start.plus_millis(REMEMBERED_MS)), First::Again);
        (1..USED_MAX).for_each(|n| assert_eq!(used.take(&n.to_string(), start), First::Yes));
        assert_eq!(used.take("more", start), First::Full);
        assert_eq!(used.take("more", start.plus_millis(REMEMBERED_MS + 1)), First::Yes, "the old are forgotten");
    }
}
