//! A commitment to bytes that lie beside the tree: who has them and the nonce can check them, who has neither learns
//! nothing, and when both are deleted no proof breaks.
use sha2::{Digest as _, Sha256};
use tlog_tiles::tlog::Hash;

/// Random bytes of a nonce. Without them a short payload could be guessed from its commitment.
pub const NONCE_BYTES: usize = 16;

/// `SHA-256(domain ‖ nonce ‖ bytes)`. The domain ends in a line feed, and has none before that.
#[must_use]
pub fn commit(domain: &str, nonce: &[u8; NONCE_BYTES], bytes: &[u8]) -> Hash {
    let hash = Sha256::new().chain_update(domain).chain_update(nonce).chain_update(bytes).finalize();
    Hash(hash.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commitment_depends_on_domain_nonce_and_bytes_and_is_what_the_page_says() {
        let genuine = commit("a\n", &[1; NONCE_BYTES], b"x");
        for other in [
            commit("b\n", &[1; NONCE_BYTES], b"x"),
            commit("a\n", &[2; NONCE_BYTES], b"x"),
            commit("a\n", &[1; NONCE_BYTES], b"y"),
        ] {
            assert_ne!(genuine, other);
        }
        // printf 'a\n\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1x' | sha256sum
        assert_eq!(genuine.to_string(), WANTED);
    }

    const WANTED: &str = "/Rxc9Oq3rBh3GxW4Cu9cNJDcU0FzP2+S+595WVam6ck=";
}
