//! A frame: one record as it lies in a segment, with what is needed to tell a torn write from damage.
//!
//! ```text
//! len u32 | crc32c u32 | seq u64 | left u32 | behind u32 | record (len bytes)          (all little-endian)
//! ```
//! - `crc` covers everything but itself.
//! - `left` counts the frames of the same batch that follow this one. A batch counts only when its last frame
//!   (`left` 0) is good, so a batch that was torn is dropped whole.
//! - `behind` says how far the journal was durable when the frame was written: up to `seq - behind`. A power cut may
//!   leave the pages of a write in any order, so a good frame after a bad one does not prove damage by itself. It does
//!   when it says that the bad one had been durable.
//!
//! A frame of zeros is not a frame: that is the space written ahead, and `seq` counts from 1.
use crate::ids::Seq;
use crate::record::RECORD_BYTES_MAX;

/// Bytes in front of every record.
pub(super) const FRAME_HEAD_BYTES: usize = 24;

/// What stands in front of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHead {
    pub(super) len: u32,
    crc: u32,
    pub(super) seq: Seq,
    pub(super) left: u32,
    behind: u32,
}

impl FrameHead {
    /// Reads a head, if these bytes can be one at all.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let u32_at = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let seq = u64::from_le_bytes(bytes.get(8..16)?.try_into().ok()?);
        let head = Self { len: u32_at(0)?, crc: u32_at(4)?, seq: Seq(seq), left: u32_at(16)?, behind: u32_at(20)? };
        (seq > 0 && head.len as usize <= RECORD_BYTES_MAX).then_some(head)
    }

    /// Bytes of the whole frame.
    pub(super) fn frame_bytes(&self) -> usize {
        FRAME_HEAD_BYTES + self.len as usize
    }

    /// Whether a whole frame is the one that this head was written for.
    pub(super) fn matches(&self, frame: &[u8]) -> bool {
        frame.len() == self.frame_bytes() && checksum(frame) == self.crc
    }

    /// Up to where the journal was durable when the frame was written.
    pub(super) fn durable(&self) -> Seq {
        Seq(self.seq.0.saturating_sub(u64::from(self.behind)))
    }
}

/// Appends a frame to `out`.
pub(super) fn encode(out: &mut Vec<u8>, seq: Seq, left: u32, durable: Seq, record: &[u8]) {
    let start = out.len();
    let len = u32::try_from(record.len()).expect("a record is at most RECORD_BYTES_MAX long");
    let behind = u32::try_from(seq.0 - durable.0).expect("a full segment is synced, and holds fewer records than this");
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&seq.0.to_le_bytes());
    out.extend_from_slice(&left.to_le_bytes());
    out.extend_from_slice(&behind.to_le_bytes());
    out.extend_from_slice(record);
    let crc = checksum(&out[start..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

fn checksum(frame: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&frame[..4]), &frame[8..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Vec<u8> {
        let mut out = Vec::new();
        encode(&mut out, Seq(9), 2, Seq(6), b"record");
        out
    }

    #[test]
    fn a_frame_reads_back_as_it_was_written() {
        let bytes = frame();
        let head = FrameHead::read(&bytes).unwrap();
        assert_eq!((head.len, head.seq, head.left, head.durable()), (6, Seq(9), 2, Seq(6)));
        assert!(head.matches(&bytes));
    }

    #[test]
    fn a_frame_has_the_bytes_that_format_1_has_for_ever() {
        // Computed apart from this program, from the layout above.
        let hex: String = frame().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "060000008e37b754090000000000000002000000030000007265636f7264");
    }

    #[test]
    fn no_flipped_bit_goes_unnoticed() {
        let good = frame();
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let noticed = FrameHead::read(&bytes).is_none_or(|head| !head.matches(&bytes));
            assert!(noticed, "bit {bit}");
        }
    }

    #[test]
    fn zeros_are_not_a_frame() {
        assert_eq!(FrameHead::read(&[0; 64]), None);
    }
}
