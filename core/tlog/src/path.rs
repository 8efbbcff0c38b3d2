//! What a path below a log's address means: `checkpoint`, `tile/<L>/<N>[.p/<W>]`, `tile/entries/<N>[.p/<W>]`
//! (C2SP tlog-tiles). Only the one spelling of each is read.
use std::fmt;
use std::str::FromStr;

use crate::TILE_WIDTH;

/// A resource of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// The newest checkpoint.
    Checkpoint,
    /// Hashes.
    Tile {
        /// Level, counted in tiles.
        level: u8,
        /// Which, from the left.
        n: u64,
        /// How many hashes, 1 to 256.
        width: u64,
    },
    /// Entries themselves.
    Entries {
        /// Which bundle, from the left.
        n: u64,
        /// How many entries, 1 to 256.
        width: u64,
    },
}

/// The path is none of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a path of a log: checkpoint, tile/<level>/<N>[.p/<W>] or tile/entries/<N>[.p/<W>]")]
pub struct InvalidPath;

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (n, width) = match self {
            Self::Checkpoint => return f.write_str("checkpoint"),
            Self::Tile { level, n, width } => {
                write!(f, "tile/{level}/")?;
                (*n, *width)
            }
            Self::Entries { n, width } => {
                f.write_str("tile/entries/")?;
                (*n, *width)
            }
        };
        write_index(f, n)?;
        if width < TILE_WIDTH { write!(f, ".p/{width}") } else { Ok(()) }
    }
}

/// Three digits in each part, all but the last marked with an `x`.
fn write_index(f: &mut fmt::Formatter<'_>, n: u64) -> fmt::Result {
    let mut parts = vec![n % 1000];
    let mut rest = n / 1000;
    while rest > 0 {
        parts.push(rest % 1000);
        rest /= 1000;
    }
    for part in parts[1..].iter().rev() {
        write!(f, "x{part:03}/")?;
    }
    write!(f, "{:03}", parts[0])
}

impl FromStr for Resource {
    type Err = InvalidPath;
    fn from_str(path: &str) -> Result<Self, InvalidPath> {
        let found = parse(path).ok_or(InvalidPath)?;
        if found.to_string() == path { Ok(found) } else { Err(InvalidPath) }
    }
}

fn parse(path: &str) -> Option<Resource> {
    if path == "checkpoint" {
        return Some(Resource::Checkpoint);
    }
    let (level, rest) = path.strip_prefix("tile/")?.split_once('/')?;
    let (index, width) = match rest.split_once(".p/") {
        Some((index, width)) => (index, width.parse().ok().filter(|width| (1..TILE_WIDTH).contains(width))?),
        None => (rest, TILE_WIDTH),
    };
    let mut n: u64 = 0;
    for part in index.split('/') {
        let digits = part.strip_prefix('x').unwrap_or(part);
        let digits = (digits.len() == 3).then(|| digits.parse::<u64>().ok()).flatten()?;
        n = n.checked_mul(1000)?.checked_add(digits)?;
    }
    match level {
        "entries" => Some(Resource::Entries { n, width }),
        level => Some(Resource::Tile { level: level.parse().ok().filter(|level| *level < 64)?, n, width }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_as_it_is_written_and_in_no_other_way() {
        for (path, resource) in [
            ("checkpoint", Resource::Checkpoint),
            ("tile/0/000", Resource::Tile { level: 0, n: 0, width: 256 }),
            ("tile/1/x001/x234/067.p/8", Resource::Tile { level: 1, n: 1_234_067, width: 8 }),
            ("tile/entries/x001/000", Resource::Entries { n: 1000, width: 256 }),
            ("tile/entries/255.p/1", Resource::Entries { n: 255, width: 1 }),
        ] {
            assert_eq!(path.parse(), Ok(resource));
            assert_eq!(resource.to_string(), path);
        }
        for wrong in [
            "",
            "tile",
            "tile/0",
            "tile/0/0",
            "tile/0/1000",
            "tile/0/x000/001",
            "tile/0/001/002",
            "tile/00/000",
            "tile/64/000",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/-1/000",
            "tile/8/0/000",
            "tile/entries/../000",
            "checkpoint/",
            "/checkpoint",
            "tile/0/+01",
            "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
        ] {
            assert_eq!(wrong.parse::<Resource>(), Err(InvalidPath), "{wrong}");
        }
    }
}
