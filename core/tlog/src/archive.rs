//! A tar archive of a few small files (POSIX ustar), written and read without trusting anything in it.

const BLOCK: usize = 512;
/// Most files, and most bytes of one: a proof is small.
const FILES_MAX: usize = 32;
const FILE_BYTES_MAX: usize = 1024 * 1024;

/// The bytes are no archive of a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not an archive of a proof: {0}")]
pub struct InvalidArchive(&'static str);

/// Puts files into an archive. The same files give the same bytes.
#[must_use]
pub fn write(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, bytes) in files {
        archive.extend_from_slice(&header(name, bytes.len()));
        archive.extend_from_slice(bytes);
        archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    }
    archive.resize(archive.len() + 2 * BLOCK, 0);
    archive
}

fn header(name: &str, length: usize) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{length:011o}\0"));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\u{0}00");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// The files of an archive, with their names.
///
/// # Errors
/// When it is cut, damaged, or larger than a proof is.
pub fn read(mut archive: &[u8]) -> Result<Vec<(String, Vec<u8>)>, InvalidArchive> {
    let mut files = Vec::new();
    loop {
        let (head, rest) = archive.split_first_chunk::<BLOCK>().ok_or(InvalidArchive("it is cut off"))?;
        if head.iter().all(|byte| *byte == 0) {
            return Ok(files);
        }
        let name = text(&head[..100]).filter(|name| !name.is_empty()).ok_or(InvalidArchive("a name can't be read"))?;
        let length = octal(&head[124..136]).filter(|length| *length <= FILE_BYTES_MAX);
        let length = length.ok_or(InvalidArchive("a file is too large"))?;
        if head[..] != header(name, length)[..] {
            return Err(InvalidArchive("the head of a file is another than was written"));
        }
        if files.len() == FILES_MAX {
            return Err(InvalidArchive("it has too many files"));
        }
        let (bytes, rest) = rest.split_at_checked(length).ok_or(InvalidArchive("it is cut off"))?;
        files.push((name.to_owned(), bytes.to_vec()));
        archive = rest.get(length.next_multiple_of(BLOCK) - length..).ok_or(InvalidArchive("it is cut off"))?;
    }
}

fn text(field: &[u8]) -> Option<&str> {
    std::str::from_utf8(field.split(|byte| *byte == 0).next()?).ok()
}

fn octal(field: &[u8]) -> Option<usize> {
    usize::from_str_radix(text(field)?.trim(), 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_back_and_a_cut_archive_is_noticed() {
        let long = vec![7; 1500];
        let archive = write(&[("README.md", b"read"), ("empty", b""), ("proof", &long)]);
        let read_back = read(&archive).unwrap();
        let names: Vec<&str> = read_back.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["README.md", "empty", "proof"]);
        assert_eq!((&read_back[0].1[..], &read_back[2].1), (&b"read"[..], &long));
        for length in [0, 100, 511, 512, 700, 1100, archive.len() - 1024] {
            assert!(read(&archive[..length]).is_err(), "{length}");
        }
    }
}
