//! The raw form of tokens: `mcpctl_pat_` and 43 base62 characters, checkable offline.
use crate::plaintext::Plaintext;

/// What every project token begins with.
pub const PAT_PREFIX: &str = "mcpctl_pat_";
/// What every login's token begins with.
pub const LOGIN_PREFIX: &str = "mcpctl_login_";
/// Random bytes in a token.
pub const RANDOM_BYTES: usize = 28;
const BODY_CHARS: usize = 43;
const SHOWN_CHARS: usize = 4;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Writes a token of 28 random bytes: 43 base62 digits of the bytes and a CRC32 over prefix and bytes, as one number.
#[must_use]
pub fn encode(prefix: &str, random: &[u8; RANDOM_BYTES]) -> Plaintext {
    let mut number = [0u8; 32];
    number[..RANDOM_BYTES].copy_from_slice(random);
    number[RANDOM_BYTES..].copy_from_slice(&checksum(prefix, random).to_be_bytes());
    let mut text = String::with_capacity(prefix.len() + BODY_CHARS);
    text.push_str(prefix);
    text.push_str(std::str::from_utf8(&to_base62(number)).expect("the alphabet is ASCII"));
    Plaintext::new(text)
}

/// Whether a text has the shape of a token with this prefix, and its checksum is right. No secret is needed to tell.
#[must_use]
pub fn is_well_formed(prefix: &str, text: &str) -> bool {
    let Some(number) = text.strip_prefix(prefix).and_then(from_base62) else { return false };
    let mut random = [0u8; RANDOM_BYTES];
    random.copy_from_slice(&number[..RANDOM_BYTES]);
    number[RANDOM_BYTES..] == checksum(prefix, &random).to_be_bytes()
}

/// What is kept of a token to tell it from others.
#[must_use]
pub fn shown_prefix(text: &str) -> String {
    text.chars().take(PAT_PREFIX.len() + SHOWN_CHARS).collect()
}

fn checksum(prefix: &str, random: &[u8; RANDOM_BYTES]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(prefix.as_bytes());
    hasher.update(random);
    hasher.finalize()
}

/// 256 bits as 43 digits of base 62, most significant first.
fn to_base62(mut number: [u8; 32]) -> [u8; BODY_CHARS] {
    let mut digits = [0u8; BODY_CHARS];
    for slot in digits.iter_mut().rev() {
        let mut rest = 0u32;
        for byte in &mut number {
            let value = (rest << 8) | u32::from(*byte);
            *byte = u8::try_from(value / 62).expect("a remainder below 62 keeps the quotient below 256");
            rest = value % 62;
        }
        *slot = ALPHABET[rest as usize];
    }
    digits
}

fn from_base62(text: &str) -> Option<[u8; 32]> {
    if text.len() != BODY_CHARS {
        return None;
    }
    // Four limbs, the lowest first: every request brings a token.
    let mut limbs = [0u64; 4];
    for digit in text.bytes() {
        let mut carry = u128::from(match digit {
            b'0'..=b'9' => digit - b'0',
            b'A'..=b'Z' => digit - b'A' + 10,
            b'a'..=b'z' => digit - b'a' + 36,
            _ => return None,
        });
        for limb in &mut limbs {
            let value = u128::from(*limb) * 62 + carry;
            *limb = u64::try_from(value & u128::from(u64::MAX)).expect("masked to 64 bits");
            carry = value >> 64;
        }
        if carry != 0 {
            return None;
        }
    }
    let mut number = [0u8; 32];
    for (bytes, limb) in number.chunks_exact_mut(8).zip(limbs.iter().rev()) {
        bytes.copy_from_slice(&limb.to_be_bytes());
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Tokens that people hold must stay what they are: this one was computed by another program, in another language.
    #[test]
    fn a_token_is_written_as_ever_and_shown_by_its_first_characters() {
        let random = std::array::from_fn(|at| u8::try_from(at).expect("28 is below 256"));
        let token = encode(PAT_PREFIX, &random);
        assert_eq!(token.expose(), "mcpctl_pat_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGlN0WUP");
        assert_eq!(shown_prefix(token.expose()), "mcpctl_pat_003a");
    }

    proptest! {
        #[test]
        fn a_token_is_well_formed_until_one_character_changes(random: [u8; RANDOM_BYTES], place in 0usize..43, other in 0usize..62) {
            let token = encode(PAT_PREFIX, &random);
            prop_assert_eq!(token.expose().len(), 54);
            prop_assert!(is_well_formed(PAT_PREFIX, token.expose()));
            prop_assert!(!is_well_formed(LOGIN_PREFIX, token.expose()));
            let mut changed = token.expose().as_bytes().to_vec();
            let at = PAT_PREFIX.len() + place;
            prop_assume!(changed[at] != ALPHABET[other]);
            changed[at] = ALPHABET[other];
            prop_assert!(!is_well_formed(PAT_PREFIX, std::str::from_utf8(&changed).expect("ASCII")));
        }
    }
}
