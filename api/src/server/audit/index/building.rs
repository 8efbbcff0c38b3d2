//! The index of a shard in memory, while its entries come, and until its file is written.
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use mcpctl_core::time::Timestamp;

use super::list;
use super::term::{Term, Wants};

/// Entries whose moments are kept together: the finest step in which a span of time is looked for.
pub(super) const ZONE: u32 = 256;

/// The earliest and the latest moment of some entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Zone {
    pub(super) earliest: Timestamp,
    pub(super) latest: Timestamp,
}

impl Zone {
    /// Of no entry.
    pub(super) fn none() -> Self {
        Self { earliest: Timestamp::from_millis(u64::MAX), latest: Timestamp::from_millis(0) }
    }

    pub(super) fn and(self, at: Timestamp) -> Self {
        Self { earliest: self.earliest.min(at), latest: self.latest.max(at) }
    }

    pub(super) fn and_all(self, other: Self) -> Self {
        Self { earliest: self.earliest.min(other.earliest), latest: self.latest.max(other.latest) }
    }
}

/// An index in memory.
#[derive(Clone, Debug, Default)]
pub(in crate::server::audit) struct Building {
    pub(super) terms: BTreeMap<Term, Vec<u32>>,
    pub(super) zones: Vec<Zone>,
}

/// Lists of places and moments, wherever they lie.
pub(super) trait Lists {
    /// Places of entries with a term in this range, ascending; nothing when they can't be told.
    fn places(&self, terms: &RangeInclusive<Term>) -> Option<Vec<u32>>;

    /// Moments, by steps of [`ZONE`] places.
    fn zones(&self) -> &[Zone];

    /// Places in `first..end` whose entries may match, ascending; nothing when that can't be told.
    fn candidates(&self, wants: &Wants, first: u32, end: u32) -> Option<Vec<u32>> {
        let zones = self.zones();
        let all = zones.iter().fold(Zone::none(), |all, zone| all.and_all(*zone));
        if wants.nothing || first >= end || (wants.timed() && !wants.reaches(all.earliest, all.latest)) {
            return Some(Vec::new());
        }
        let mut found: Option<Vec<u32>> = None;
        for terms in &wants.all {
            let places = self.places(terms)?;
            let now = found.map_or_else(|| places.clone(), |before| list::both(&before, &places));
            if now.is_empty() {
                return Some(now);
            }
            found = Some(now);
        }
        let mut found = found.unwrap_or_else(|| (first..end).collect());
        found.retain(|place| (first..end).contains(place));
        if wants.timed() {
            let reached = |place: &u32| {
                let zone = zones.get((place / ZONE) as usize);
                zone.is_none_or(|zone| wants.reaches(zone.earliest, zone.latest))
            };
            found.retain(reached);
        }
        Some(found)
    }
}

impl Lists for Building {
    fn places(&self, terms: &RangeInclusive<Term>) -> Option<Vec<u32>> {
        Some(list::union(self.terms.range(terms.clone()).map(|(_, list)| list.clone()).collect()))
    }

    fn zones(&self) -> &[Zone] {
        &self.zones
    }
}

impl Building {
    /// Takes an entry. Places come in ascending order; one that is left out (an entry that can't be read) is in no list.
    pub(in crate::server::audit) fn add(&mut self, place: u32, at: Timestamp, terms: &[Term]) {
        let zone = (place / ZONE) as usize;
        if self.zones.len() <= zone {
            self.zones.resize(zone + 1, Zone::none());
        }
        self.zones[zone] = self.zones[zone].and(at);
        for term in terms {
            let list = self.terms.entry(*term).or_default();
            if list.last() != Some(&place) {
                list.push(place);
            }
        }
    }

    /// As much of it as a query needs: to be looked at when nobody waits.
    pub(super) fn part(&self, wants: &Wants) -> Self {
        let of = |terms: &RangeInclusive<Term>| self.terms.range(terms.clone());
        let terms = wants.all.iter().flat_map(of).map(|(term, list)| (*term, list.clone())).collect();
        Self { terms, zones: self.zones.clone() }
    }
}
