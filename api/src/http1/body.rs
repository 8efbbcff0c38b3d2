//! What is left of the body of a message, and how it is taken out of the bytes that come (RFC 9112, sections 6.3 and 7.1).
use bytes::{Buf, Bytes, BytesMut};

/// Longest line that says how long a chunk is, with its extensions.
const SIZE_LINE_BYTES_MAX: usize = 256;
/// Longest trailer section: it is read over.
const TRAILER_BYTES_MAX: usize = 16 << 10;

/// What is left of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Nothing.
    Nothing,
    /// So many bytes.
    Bytes(u64),
    /// Chunks.
    Chunks(Chunks),
    /// Whatever comes until the server closes.
    UntilClose,
}

/// Where in a chunked body the reading is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunks {
    /// In front of a chunk's size.
    Size,
    /// In a chunk, so many bytes before its end.
    Data(u64),
    /// Behind a chunk's data, in front of its line end.
    DataEnd,
    /// In the trailer, after so many bytes of it.
    Trailer(usize),
}

impl Left {
    /// A chunked body, from its beginning.
    #[must_use]
    pub const fn chunked() -> Self {
        Self::Chunks(Chunks::Size)
    }

    /// Whether the body was read to its end.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    /// How many bytes are to come, where that is known.
    #[must_use]
    pub const fn known(&self) -> Option<u64> {
        match self {
            Self::Nothing => Some(0),
            Self::Bytes(bytes) => Some(*bytes),
            Self::Chunks(_) | Self::UntilClose => None,
        }
    }

    /// What it means that the other side closed.
    ///
    /// # Errors
    /// When the body is not whole.
    #[expect(clippy::result_unit_err, reason = "there is nothing to say beyond that")]
    pub fn at_close(&mut self) -> Result<(), ()> {
        match self {
            Self::Nothing | Self::UntilClose => {
                *self = Self::Nothing;
                Ok(())
            }
            Self::Bytes(_) | Self::Chunks(_) => Err(()),
        }
    }

    /// The next piece of the body, as far as it has come. `None`: more must be read, or the body is over.
    ///
    /// # Errors
    /// When the chunks are not what they say.
    pub fn take(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, &'static str> {
        match self {
            Self::Nothing => Ok(None),
            Self::Bytes(left) => {
                let piece = split(input, left);
                if *left == 0 {
                    *self = Self::Nothing;
                }
                Ok(piece)
            }
            Self::UntilClose => Ok((!input.is_empty()).then(|| input.split().freeze())),
            Self::Chunks(_) => self.take_chunk(input),
        }
    }

    fn take_chunk(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, &'static str> {
        while let Self::Chunks(at) = self {
            match at {
                Chunks::Size => match size_line(input)? {
                    None => return Ok(None),
                    Some((line, 0)) => {
                        input.advance(line);
                        *at = Chunks::Trailer(0);
                    }
                    Some((line, size)) => {
                        input.advance(line);
                        *at = Chunks::Data(size);
                    }
                },
                Chunks::Data(left) => {
                    let piece = split(input, left);
                    if *left == 0 {
                        *at = Chunks::DataEnd;
                        // What follows is there already more often than not, and then the end is known at once.
                        self.read_over(input)?;
                    }
                    return Ok(piece);
                }
                Chunks::DataEnd | Chunks::Trailer(_) => {
                    if !self.read_over(input)? {
                        return Ok(None);
                    }
                }
            }
        }
        Ok(None)
    }

    /// Reads over what is no data, as far as it has come. `false`: more must be read.
    fn read_over(&mut self, input: &mut BytesMut) -> Result<bool, &'static str> {
        loop {
            match self {
                Self::Chunks(at @ Chunks::DataEnd) => match &input[..] {
                    [b'\r', b'\n', ..] => {
                        input.advance(2);
                        *at = Chunks::Size;
                    }
                    [] | [b'\r'] => return Ok(false),
                    _ => return Err("a chunk that is longer than it says"),
                },
                Self::Chunks(at @ Chunks::Size) => match size_line(input)? {
                    Some((line, 0)) => {
                        input.advance(line);
                        *at = Chunks::Trailer(0);
                    }
                    Some(_) => return Ok(true),
                    None => return Ok(false),
                },
                Self::Chunks(Chunks::Trailer(read)) => {
                    let Some(end) = memchr::memchr(b'\n', input) else {
                        if *read + input.len() > TRAILER_BYTES_MAX {
                            return Err("a trailer that is too long");
                        }
                        return Ok(false);
                    };
                    *read += end + 1;
                    if *read > TRAILER_BYTES_MAX {
                        return Err("a trailer that is too long");
                    }
                    let empty = &input[..end] == b"\r";
                    input.advance(end + 1);
                    if empty {
                        *self = Self::Nothing;
                    }
                }
                Self::Nothing | Self::Bytes(_) | Self::UntilClose | Self::Chunks(Chunks::Data(_)) => return Ok(true),
            }
        }
    }
}

/// Takes what has come of so many bytes.
fn split(input: &mut BytesMut, left: &mut u64) -> Option<Bytes> {
    let here = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
    if here == 0 {
        return None;
    }
    *left -= here as u64;
    Some(input.split_to(here).freeze())
}

/// A chunk's size, and how long the line is that says it. Whether a line is taken does not depend on how it comes; one with
/// a control character in its extensions is not: a bare line feed there ends the line for some readers, and not for others.
fn size_line(input: &[u8]) -> Result<Option<(usize, u64)>, &'static str> {
    match httparse::parse_chunk_size(input) {
        Ok(httparse::Status::Complete((line, _))) if line > SIZE_LINE_BYTES_MAX => {
            Err("a chunk whose size is too long")
        }
        Ok(httparse::Status::Complete((line, size))) => {
            let said = input[..line].strip_suffix(b"\r\n").unwrap_or(&input[..line]);
            let reads_one_way = said.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control());
            if reads_one_way { Ok(Some((line, size))) } else { Err("a chunk whose size could be read in two ways") }
        }
        Ok(httparse::Status::Partial) if input.len() < SIZE_LINE_BYTES_MAX => Ok(None),
        _ => Err("a chunk without a size"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds the bytes in pieces of these lengths, and gives the body and what is left behind it.
    fn read(wire: &[u8], pieces: &[usize], mut left: Left) -> Result<(Vec<u8>, Vec<u8>), &'static str> {
        let (mut body, mut input, mut at) = (Vec::new(), BytesMut::new(), 0);
        let mut lengths = pieces.iter().copied().chain(std::iter::repeat(1));
        loop {
            while let Some(piece) = left.take(&mut input)? {
                body.extend_from_slice(&piece);
            }
            if left.is_over() || at == wire.len() {
                let behind = [&input[..], &wire[at..]].concat();
                return if left.is_over() { Ok((body, behind)) } else { Err("it ended early") };
            }
            let end = (at + lengths.next().unwrap_or(1).max(1)).min(wire.len());
            input.extend_from_slice(&wire[at..end]);
            at = end;
        }
    }

    proptest! {
        #[test]
        fn chunks_are_put_together_however_they_come(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8),
            extension in prop::bool::ANY, trailer in prop::bool::ANY,
            pieces in prop::collection::vec(1usize..30, 0..40),
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                let more = if extension { ";a=b" } else { "" };
                wire.extend_from_slice(format!("{:X}{more}\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(if trailer { b"0\r\nX: y\r\n\r\n" } else { b"0\r\n\r\n" });
            wire.extend_from_slice(b"HTTP/1.1 next");
            let (body, behind) = read(&wire, &pieces, Left::chunked()).unwrap();
            prop_assert_eq!(body, chunks.concat());
            prop_assert_eq!(behind, b"HTTP/1.1 next");
        }

        #[test]
        fn a_body_of_known_length_ends_there(body in prop::collection::vec(any::<u8>(), 1..200), pieces in prop::collection::vec(1usize..50, 0..20)) {
            let wire = [&body[..], b"rest"].concat();
            let (read, behind) = read(&wire, &pieces, Left::Bytes(body.len() as u64)).unwrap();
            prop_assert_eq!((read, &behind[..]), (body, &b"rest"[..]));
        }
    }

    #[test]
    fn chunks_that_are_not_what_they_say_are_not_read() {
        for wire in [
            "3\r\nabcd\r\n0\r\n\r\n",
            "x\r\n",
            "-1\r\na\r\n",
            "3\r\nabc0\r\n\r\n",
            "11111111111111111\r\n",
            "3\nabc\r\n0\r\n\r\n",
        ] {
            assert!(read(wire.as_bytes(), &[100], Left::chunked()).is_err(), "{wire:?}");
        }
        // What some readers take for the end of the line: how long the chunk is, and where the next request begins, would be another.
        for wire in ["4;x=y\nabcd\r\n0\r\n\r\n", "4;x\0\r\nabcd\r\n0\r\n\r\n", "4;\x7f\r\nabcd\r\n0\r\n\r\n"] {
            for pieces in [1, 3, 100] {
                assert!(read(wire.as_bytes(), &[pieces; 100], Left::chunked()).is_err(), "{wire:?} by {pieces}");
            }
        }
        for (extension, taken) in [(SIZE_LINE_BYTES_MAX - 4, true), (SIZE_LINE_BYTES_MAX - 3, false)] {
            let wire = format!("4;{}\r\nabcd\r\n0\r\n\r\n", "x".repeat(extension));
            for pieces in [1, 3, 1000] {
                let read = read(wire.as_bytes(), &[pieces; 1000], Left::chunked());
                assert_eq!(read.is_ok(), taken, "a line of {} bytes by {pieces}", extension + 4);
            }
        }
        let endless = format!("0\r\n{}", "X: y\r\n".repeat(10_000));
        assert_eq!(read(endless.as_bytes(), &[100_000], Left::chunked()), Err("a trailer that is too long"));
    }

    #[test]
    fn a_server_that_closes_ends_only_a_body_without_an_end_of_its_own() {
        assert_eq!(Left::UntilClose.at_close(), Ok(()));
        assert_eq!((Left::Bytes(1).at_close(), Left::chunked().at_close()), (Err(()), Err(())));
    }
}
