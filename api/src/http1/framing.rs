//! What the headers of a message say about where it ends (RFC 9112, section 6.3).
use super::Left;

/// What the headers that were noted so far say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Framing {
    /// `Content-Length`.
    pub length: Option<u64>,
    /// `Transfer-Encoding: chunked`.
    pub chunked: bool,
    /// `Connection: close`.
    pub close: bool,
    /// `Connection: keep-alive`, which HTTP/1.0 wants said.
    pub keep: bool,
}

impl Framing {
    /// Takes a header in, if it is one of these.
    ///
    /// # Errors
    /// When it could be read in more than one way, or names a coding that is not spoken here.
    pub fn note(&mut self, name: &str, value: &[u8]) -> Result<(), &'static str> {
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
        match name.len() {
            14 if is("content-length") => {
                let length = digits(value).ok_or("a length that is no number")?;
                if self.length.is_some_and(|known| known != length) {
                    return Err("two lengths");
                }
                self.length = Some(length);
            }
            17 if is("transfer-encoding") => {
                if self.chunked || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                    return Err("a transfer coding that is not known");
                }
                self.chunked = true;
            }
            10 if is("connection") => {
                for token in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                    self.close |= token.eq_ignore_ascii_case(b"close");
                    self.keep |= token.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The body that they announce; `otherwise` where they announce none. `old` is HTTP/1.0.
    ///
    /// # Errors
    /// When they contradict each other: whoever stands between might believe the other one.
    pub fn left(&self, old: bool, otherwise: Left) -> Result<Left, &'static str> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err("a length and a transfer coding"),
            (true, None) if old => Err("a transfer coding in HTTP/1.0"),
            (true, None) => Ok(Left::chunked()),
            (false, Some(0)) => Ok(Left::Nothing),
            (false, Some(length)) => Ok(Left::Bytes(length)),
            (false, None) => Ok(otherwise),
        }
    }

    /// Whether the connection ends with this message.
    #[must_use]
    pub const fn is_last(&self, old: bool) -> bool {
        self.close || (old && !self.keep)
    }
}

/// A length: digits and nothing else, as some readers take signs and blanks for part of a number.
fn digits(value: &[u8]) -> Option<u64> {
    let value = value.trim_ascii();
    let all = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| all)?.parse().ok()
}
