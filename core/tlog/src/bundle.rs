//! A bundle of entries: each as its length in two bytes, big-endian, and its bytes (C2SP tlog-tiles).

/// Most bytes of an entry: what two bytes can say.
pub const ENTRY_BYTES_MAX: usize = u16::MAX as usize;

/// The bytes are no bundle: they end inside an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bundle of entries ends inside an entry")]
pub struct TruncatedBundle;

/// Adds an entry to a bundle; `false`, and nothing added, when it is too long for one.
#[must_use]
pub fn push(bundle: &mut Vec<u8>, entry: &[u8]) -> bool {
    let Ok(length) = u16::try_from(entry.len()) else { return false };
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
    true
}

/// The entries of a bundle.
///
/// # Errors
/// When it ends inside one.
pub fn entries(mut bundle: &[u8]) -> Result<Vec<&[u8]>, TruncatedBundle> {
    let mut found = Vec::new();
    while !bundle.is_empty() {
        let (length, rest) = bundle.split_first_chunk().ok_or(TruncatedBundle)?;
        let (entry, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into()).ok_or(TruncatedBundle)?;
        found.push(entry);
        bundle = rest;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_and_a_cut_bundle_is_noticed() {
        let (mut bundle, long) = (Vec::new(), vec![7; ENTRY_BYTES_MAX]);
        for entry in [&b"one"[..], b"", &long] {
            assert!(push(&mut bundle, entry));
        }
        assert!(!push(&mut bundle, &vec![0; ENTRY_BYTES_MAX + 1]));
        assert_eq!(entries(&bundle).unwrap(), [&b"one"[..], b"", &long]);
        for cut in [1, 4, 6, bundle.len() - 1] {
            assert_eq!(entries(&bundle[..cut]), Err(TruncatedBundle), "{cut}");
        }
    }
}
