//! The lines of a gateway's stream: JSON, one a line, in both directions of one request.
//!
//! `POST /api/v1/gateways/stream`. The gateway speaks in the body of the request: it opens with what it holds, pings, says
//! what it has done. The control plane speaks in the body of the answer, and numbers what it says.
use std::fmt;
use std::str::FromStr;

use mcpctl_core::ids::{Digest, Seq};
use serde::{Deserialize, Serialize};

use super::gateway_wire::DenialWire;

/// Most handles that one stream holds.
pub(crate) const HANDLES_MAX: usize = 65_536;
/// Most bytes of a line: an opening with as many handles as a stream holds.
pub(crate) const LINE_BYTES_MAX: usize = 16 << 20;

/// 128 random bits, as hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Handle(pub(crate) [u8; 16]);

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// It is a secret of a kind: whoever has it learns when an access ends.
impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handle(…)")
    }
}

impl FromStr for Handle {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "a handle is 32 hexadecimal digits";
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(FORM);
        }
        u128::from_str_radix(text, 16).map(|number| Self(number.to_be_bytes())).map_err(|_| FORM)
    }
}

impl TryFrom<String> for Handle {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Handle> for String {
    fn from(handle: Handle) -> Self {
        handle.to_string()
    }
}

/// A place in the log that somebody remembers: its position, and what stands for all that came before it: the hash of the
/// record, which names the one before it. It is known at once; a signed checkpoint ([`ShownLog`]) follows within a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Anchor {
    pub(crate) seq: Seq,
    pub(crate) hash: Digest,
}

/// The newest signed checkpoint, and the proof that it goes on from the one that somebody keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShownLog {
    /// Public key of the log.
    pub(crate) key: String,
    /// The signed note.
    pub(crate) checkpoint: String,
    /// Hashes, base64 (RFC 6962, section 2.1.2); none when the log never had the size that was named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) proof: Vec<String>,
}

/// A handle, and the state that its holder was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holding {
    pub(crate) handle: Handle,
    pub(crate) rev: Seq,
}

/// What a gateway says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Said {
    /// The first line.
    #[serde(rename_all = "camelCase")]
    Open {
        /// Version of the gateway.
        version: String,
        /// What it holds.
        holds: Vec<Holding>,
        /// The last place in the log that it saw.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        saw: Option<Anchor>,
        /// Size of the last checkpoint that it keeps; 0 when it keeps none.
        #[serde(default)]
        log_size: u64,
        /// Something was missed on an earlier stream.
        #[serde(default)]
        resync: bool,
    },
    /// It lives. The moment of sending stays with the gateway.
    Ping {
        /// Number of the ping.
        ping: u64,
        /// Calls and streams that were ended since the last word because their lease ran out.
        #[serde(default)]
        lapsed: u64,
    },
    /// Everything up to this line is done: nobody is admitted by it any more, and what ran has stopped.
    Done {
        /// Number of the line.
        n: u64,
        /// Calls and streams that were ended by it.
        cut: u64,
    },
    /// It was told of these by introspection, and holds them.
    Hold {
        /// What it holds.
        holds: Vec<Holding>,
    },
    /// It wants to see the newest checkpoint, and that it goes on from the one that it keeps.
    #[serde(rename_all = "camelCase")]
    Look {
        /// Size of that one; 0 when it keeps none.
        log_size: u64,
    },
    /// It needs these no more.
    Drop {
        /// Handles.
        handles: Vec<Handle>,
    },
}

/// One line of the control plane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Told {
    /// Number of the line: one more than that of the line before.
    pub(crate) n: u64,
    /// Seq up to which everything that takes access away was told.
    pub(crate) seq: Seq,
    /// What is told.
    #[serde(flatten)]
    pub(crate) what: News,
}

/// What the control plane tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub(crate) enum News {
    /// The first line.
    #[serde(rename_all = "camelCase")]
    Opened {
        /// Name of the stream.
        stream: Handle,
        /// What is not as the gateway was told, or was never known: to be asked about anew.
        void: Vec<Handle>,
        /// What the log has at the place that the gateway saw; its end, when it ends before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        log: Option<Anchor>,
        /// The log's newest checkpoint; nothing while the tree is not level with the log.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shown: Option<ShownLog>,
    },
    /// The newest checkpoint, as it was asked for.
    Log {
        /// Nothing while the tree is not level with the log.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shown: Option<ShownLog>,
    },
    /// A ping is answered.
    Pong {
        /// Its number.
        ping: u64,
        /// The end of the log.
        log: Anchor,
    },
    /// These are held by this stream from now on; those that are void are to be asked about anew.
    Held {
        /// Held.
        handles: Vec<Handle>,
        /// Not as the gateway was told.
        void: Vec<Handle>,
    },
    /// Access was taken away, or may have been.
    Reduced {
        /// Whose access has ended, or is another than it was: what runs stops.
        cut: Vec<Ended>,
        /// To be asked about before anybody is admitted by them again.
        void: Vec<Handle>,
    },
    /// Something that a later version says.
    #[serde(other)]
    Unknown,
}

/// An access that has ended, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(crate) handle: Handle,
    /// Why; nothing when the caller is still admitted, to something else than before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) why: Option<DenialWire>,
    /// The caller is still admitted, and a tool waits for approval.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) quarantine: bool,
}

/// Writes a line.
pub(crate) fn line<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(value).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// Cuts bytes into lines.
#[derive(Default)]
pub(crate) struct Lines {
    buffer: Vec<u8>,
    /// How much of the buffer was looked through for an end of line in vain.
    searched: usize,
}

/// A line that is longer than any.
#[derive(Debug, thiserror::Error)]
#[error("a line has more than {LINE_BYTES_MAX} bytes")]
pub(crate) struct TooLong;

impl Lines {
    /// Takes bytes.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() > LINE_BYTES_MAX { Err(TooLong) } else { Ok(()) }
    }

    /// The next whole line.
    pub(crate) fn next(&mut self) -> Option<Vec<u8>> {
        let Some(end) = memchr::memchr(b'\n', &self.buffer[self.searched..]) else {
            self.searched = self.buffer.len();
            return None;
        };
        let line = self.buffer.drain(..=self.searched + end).collect();
        self.searched = 0;
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_comes_back_as_it_was_and_unknown_ones_are_told_apart() {
        let handle = Handle([7; 16]);
        let anchor = Anchor { seq: Seq(9), hash: Digest::sha256(b"x") };
        let shown = ShownLog { key: "k".to_owned(), checkpoint: "c\n".to_owned(), proof: vec!["p".to_owned()] };
        for what in [
            News::Opened { stream: handle, void: vec![handle], log: Some(anchor), shown: Some(shown.clone()) },
            News::Log { shown: Some(shown) },
            News::Log { shown: None },
            News::Pong { ping: 3, log: anchor },
            News::Held { handles: vec![handle], void: Vec::new() },
            News::Reduced { cut: vec![Ended { handle, why: None, quarantine: true }], void: Vec::new() },
            News::Reduced {
                cut: vec![Ended { handle, why: Some(DenialWire::OtherProject), quarantine: false }],
                void: vec![handle],
            },
        ] {
            let told = Told { n: 4, seq: Seq(9), what };
            assert_eq!(serde_json::from_slice::<Told>(&line(&told)).unwrap(), told);
        }
        let later: Told = serde_json::from_str(r#"{"n":1,"seq":2,"kind":"drained","x":1}"#).unwrap();
        assert_eq!(later.what, News::Unknown);
    }

    #[test]
    fn a_handle_is_never_shown_where_logs_are_written() {
        let handle: Handle = "000102030405060708090a0b0c0d0e0f".parse().unwrap();
        assert_eq!(handle.to_string(), "000102030405060708090a0b0c0d0e0f");
        assert!(!format!("{handle:?}").contains("0102"));
        for bad in ["", "+00102030405060708090a0b0c0d0e0f", "000102030405060708090a0b0c0d0e0", "zz"] {
            assert!(bad.parse::<Handle>().is_err(), "{bad}");
        }
    }

    #[test]
    fn lines_are_found_however_the_bytes_are_cut() {
        for size in 1..8 {
            let (mut lines, mut found) = (Lines::default(), Vec::new());
            for chunk in b"ab\n\ncde\nf".chunks(size) {
                lines.feed(chunk).unwrap();
                found.extend(std::iter::from_fn(|| lines.next()));
            }
            assert_eq!(found, [b"ab\n".to_vec(), b"\n".to_vec(), b"cde\n".to_vec()], "{size}");
        }
    }
}
