//! Nonces of audit entries: random bytes of the system, fetched for many entries at once.
use std::cell::RefCell;

use mcpctl_tlog::commitment::NONCE_BYTES;
use zeroize::Zeroize;

use crate::server::clock;

/// Entries that one look at the system's dice is good for.
const AHEAD: usize = 64;

/// Random bytes that no entry has yet.
struct Drawn {
    bytes: [u8; AHEAD * NONCE_BYTES],
    left: usize,
}

thread_local! {
    static DRAWN: RefCell<Drawn> = const { RefCell::new(Drawn { bytes: [0; AHEAD * NONCE_BYTES], left: 0 }) };
}

/// A nonce for one entry. What was given out is wiped: a nonce that is erased with its details must be nowhere else.
pub(super) fn nonce() -> [u8; NONCE_BYTES] {
    DRAWN.with_borrow_mut(|drawn| {
        if drawn.left == 0 {
            drawn.bytes = clock::random();
            drawn.left = AHEAD;
        }
        drawn.left -= 1;
        let place = &mut drawn.bytes[drawn.left * NONCE_BYTES..][..NONCE_BYTES];
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(place);
        place.zeroize();
        nonce
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_nonces_are_the_same_on_any_thread() {
        let draw = || (0..3 * AHEAD).map(|_| nonce()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(draw)).collect();
        let all: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
        assert!(!all.contains(&[0; NONCE_BYTES]), "what was given out and wiped is not given out again");
    }
}
