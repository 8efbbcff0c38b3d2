//! `mcpctl log repair` as somebody at a broken machine runs it: what is derived is made again from the half that is whole, and
//! what was acknowledged is never touched.
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::up::{Place, Up};

/// More than a tile of events, and enough for a snapshot.
const GROUPS: usize = 1_100;

/// A folder of a process that lived and ended, and the place that it is in.
fn lived() -> (std::sync::Arc<Place>, PathBuf) {
    let up = Up::start();
    let groups: String = (0..GROUPS).map(|n| format!("kind: group\nname: g{n}\n---\n")).collect();
    up.place.mcpctl_with_input(&["apply", "-f", "-"], &groups).ok();
    let (place, _) = up.stop();
    let data = place.data();
    (place, data)
}

/// All files of a log as it is published, by their paths.
fn exported(place: &Place, name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let (data, to) = (place.data(), place.path(name));
    place.mcpctl(&["log", "export", "--data-dir", data.to_str().unwrap(), "-o", to.to_str().unwrap()]).ok();
    let (mut files, mut folders) = (Vec::new(), vec![to.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else {
                files.push((entry.strip_prefix(&to).unwrap().to_owned(), fs::read(&entry).unwrap()));
            }
        }
    }
    files.sort();
    files
}

fn flip(path: &Path, at: impl Fn(usize) -> usize) {
    let mut bytes = fs::read(path).unwrap();
    let at = at(bytes.len());
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn the_only(folder: &Path, ending: &str) -> PathBuf {
    let mut found = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    found.find(|path| path.to_str().unwrap().ends_with(ending)).unwrap_or_else(|| panic!("no {ending} in {folder:?}"))
}

#[test]
fn tiles_bundles_the_index_and_snapshots_are_made_again_from_the_journal() {
    let (place, data) = lived();
    let folder = data.to_str().unwrap();
    let good = exported(&place, "before");
    assert!(good.iter().any(|(path, _)| path.to_str().unwrap().contains("tile/entries/")), "bundles are part of it");
    let (tile, snapshot) = (data.join("tlog/config/tile/0/001"), the_only(&data.join("snapshot"), ".snapshot"));
    let tile_before = fs::read(&tile).unwrap();
    flip(&tile, |length| length / 2);
    fs::remove_file(data.join("tlog/config/tile/0/002")).unwrap();
    flip(&snapshot, |length| length / 2);
    flip(&data.join("log/index/db"), |length| length / 2);
    // A write that nobody was told of: the machine ended in the middle of it.
    let segment = the_only(&data.join("log"), ".segment");
    let mut bytes = fs::read(&segment).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    bytes[end + 3] = 0x55;
    fs::write(&segment, &bytes).unwrap();

    let seen = place.mcpctl(&["log", "verify", "--deep", "--data-dir", folder]).exits(1);
    for named in ["tile/0/001", "tile/0/002", "snapshot", "mcpctl log repair"] {
        assert!(seen.said().contains(named), "{named}: {}", seen.said());
    }
    let repaired = place.mcpctl(&["log", "repair", "--data-dir", folder]).ok();
    for named in ["tile/0/001", "tile/0/002", "snapshot"] {
        assert!(repaired.stdout.contains(named), "{named}: {}", repaired.said());
    }
    assert_eq!(fs::read(&tile).unwrap(), tile_before);
    place.mcpctl(&["log", "verify", "--deep", "--log", "all", "--data-dir", folder]).ok();
    assert_eq!(exported(&place, "after"), good, "what is published is what was");
    let again = place.mcpctl(&["log", "repair", "--data-dir", folder]).ok();
    assert!(again.stdout.contains("made again: nothing"), "{}", again.said());
    let up = Up::start_in(place);
    let listed = up.mcpctl(&["get", "groups", "-o", "name"]).ok();
    assert_eq!(listed.stdout.lines().filter(|line| line.contains("/g")).count(), GROUPS);
}

#[test]
fn what_was_acknowledged_is_named_and_left_and_a_folder_in_use_is_nobody_elses() {
    let (place, data) = lived();
    let folder = data.to_str().unwrap();
    let segment = the_only(&data.join("log"), ".segment");
    let good = fs::read(&segment).unwrap();
    flip(&segment, |_| 4_000);
    let rotten = fs::read(&segment).unwrap();
    let refused = place.mcpctl(&["log", "repair", "--data-dir", folder]).exits(1);
    assert!(refused.said().contains(".segment is damaged"), "{}", refused.said());
    assert!(fs::read(&segment).unwrap() == rotten, "it is not touched");
    fs::write(&segment, good).unwrap();
    let up = Up::start_in(place);
    up.mcpctl(&["log", "repair", "--data-dir", folder]).exits(1);
    up.mcpctl(&["create", "group", "goes-on"]).ok();
    up.mcpctl(&["log", "repair", "--data-dir", up.place.path("nowhere").to_str().unwrap()]).exits(1);
}
