//! Rate limits: token buckets in bounded tables. Time comes in as an argument, so that the laws can be tested.
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use mcpctl_core::ids::Digest;
use parking_lot::{Mutex, RwLock};

/// Most buckets that one table holds.
const BUCKETS_MAX: usize = 100_000;
/// How many buckets are looked at to find one to give up, when a table is full.
const VICTIMS_LOOKED_AT: usize = 64;

/// How much may be done: `burst` at once, and then `per_minute`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How much comes back in a minute.
    pub per_minute: u32,
    /// How much may be done at once.
    pub burst: u32,
}

impl Rate {
    /// A rate of which a whole minute's worth may be used at once.
    #[must_use]
    pub const fn per_minute(per_minute: u32) -> Self {
        Self { per_minute, burst: per_minute }
    }

    /// Nanoseconds that one token takes to come back; rounded up, so that no more than asked comes back.
    fn token_ns(self) -> u64 {
        60_000_000_000u64.div_ceil(u64::from(self.per_minute.max(1)))
    }

    /// Nanoseconds that an empty bucket takes to be full.
    fn span_ns(self) -> u64 {
        self.token_ns() * u64::from(self.burst.max(1))
    }
}

/// It is too much: 429.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many requests: try again in {} s", self.seconds())]
pub struct TooMany {
    /// Until there is a token again.
    pub after: Duration,
}

impl TooMany {
    /// The value of `Retry-After`: whole seconds, at least one, never too early.
    #[must_use]
    pub fn seconds(&self) -> u64 {
        (self.after.as_secs() + u64::from(self.after.subsec_nanos() > 0)).max(1)
    }
}

/// Buckets by key. A bucket is one moment: when it will be full again. Moments are nanoseconds since some beginning.
#[derive(Debug)]
struct Buckets {
    rate: RwLock<Rate>,
    max: usize,
    full_at: Mutex<HashMap<Digest, u64>>,
}

impl Buckets {
    /// A table of at most `max` buckets. When it is full, buckets that are full again leave it first; failing that, of
    /// some the one that is nearest to it.
    fn new(rate: Rate, max: usize) -> Self {
        Self { rate: RwLock::new(rate), max: max.max(1), full_at: Mutex::new(HashMap::new()) }
    }

    /// Takes one token.
    fn take(&self, key: &Digest, now: u64) -> Result<(), TooMany> {
        self.take_part(key, now, 1)
    }

    /// Takes a part of a token: one of so many. There must be a whole one.
    fn take_part(&self, key: &Digest, now: u64, of: u64) -> Result<(), TooMany> {
        let mut table = self.full_at.lock();
        let until_full = self.until_full(&table, key, now)?;
        if !table.contains_key(key) && table.len() >= self.max {
            make_room(&mut table, self.max, now);
        }
        table.insert(*key, now + until_full + self.rate.read().token_ns() / of);
        Ok(())
    }

    /// Whether there is a token, without taking it.
    fn look(&self, key: &Digest, now: u64) -> Result<(), TooMany> {
        self.until_full(&self.full_at.lock(), key, now).map(drop)
    }

    /// Nanoseconds until the bucket is full, when it holds at least one token.
    fn until_full(&self, table: &HashMap<Digest, u64>, key: &Digest, now: u64) -> Result<u64, TooMany> {
        let Some(full_at) = table.get(key) else { return Ok(0) };
        let until_full = full_at.saturating_sub(now);
        let rate = *self.rate.read();
        let missing = until_full.saturating_sub(rate.span_ns() - rate.token_ns());
        if missing == 0 {
            return Ok(until_full);
        }
        Err(TooMany { after: Duration::from_nanos(missing) })
    }
}

fn make_room(table: &mut HashMap<Digest, u64>, max: usize, now: u64) {
    table.retain(|_, full_at| *full_at > now);
    while table.len() >= max {
        let victim = table.iter().take(VICTIMS_LOOKED_AT).min_by_key(|(_, full_at)| **full_at);
        let Some(victim) = victim.map(|(key, _)| *key) else { return };
        table.remove(&victim);
    }
}

/// Where a request comes from, as far as limits go: an IPv4 address, or the /64 that one holder of IPv6 has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source(IpAddr);

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// Who makes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Principal {
    /// SHA-256 of a credential that was found good.
    Credential(Digest),
    /// An address, where there is no such credential.
    Source(Source),
}

impl Principal {
    fn key(self) -> Digest {
        match self {
            Self::Credential(digest) => digest,
            Self::Source(source) => key_of(&[&source.0.to_string()]),
        }
    }
}

/// Tables hold digests, so that no text is too long for them.
fn key_of(parts: &[&str]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part.trim().to_lowercase().as_bytes());
        hasher.update(&[0]);
    }
    Digest(*hasher.finalize().as_bytes())
}

/// The limits of a control plane.
#[derive(Debug)]
pub struct RateLimits {
    begin: Instant,
    requests: Buckets,
    failed_by_source: Buckets,
    failed_by_account: Buckets,
    failed_by_both: Buckets,
}

/// Requests of one principal.
pub const REQUESTS: Rate = Rate::per_minute(2000);
/// So many tiles of hashes of a log count as one request: who verifies a log of a million events reads four thousand of them, each a
/// finished file.
const TILES_OF_A_REQUEST: u64 = 20;
/// Failed logins from one source, whatever the account.
const FAILED_BY_SOURCE: Rate = Rate::per_minute(20);
/// Failed logins from one source to one account.
const FAILED_BY_BOTH: Rate = Rate::per_minute(5);
/// Failed logins to one account from everywhere: high enough that no single source can lock somebody else out.
const FAILED_BY_ACCOUNT: Rate = Rate { per_minute: 60, burst: 100 };

impl Default for RateLimits {
    fn default() -> Self {
        Self::new(REQUESTS)
    }
}

impl RateLimits {
    /// Limits with this rate for requests.
    #[must_use]
    pub fn new(requests: Rate) -> Self {
        Self {
            begin: Instant::now(),
            requests: Buckets::new(requests, BUCKETS_MAX),
            failed_by_source: Buckets::new(FAILED_BY_SOURCE, BUCKETS_MAX),
            failed_by_account: Buckets::new(FAILED_BY_ACCOUNT, BUCKETS_MAX),
            failed_by_both: Buckets::new(FAILED_BY_BOTH, BUCKETS_MAX),
        }
    }

    /// Limits requests to another rate from now on.
    pub fn limit_requests(&self, rate: Rate) {
        *self.requests.rate.write() = rate;
    }

    fn ns(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.begin).as_nanos()).unwrap_or(u64::MAX / 2)
    }

    /// Counts a request.
    ///
    /// # Errors
    /// When it is too much: 429 with `Retry-After`.
    pub fn request(&self, principal: Principal, now: Instant) -> Result<(), TooMany> {
        self.requests.take(&principal.key(), self.ns(now))
    }

    /// Counts a request for a tile of a log.
    ///
    /// # Errors
    /// As for other requests.
    pub fn tile(&self, principal: Principal, now: Instant) -> Result<(), TooMany> {
        self.requests.take_part(&principal.key(), self.ns(now), TILES_OF_A_REQUEST)
    }

    /// Whether a login may be tried. Ask before the password is looked at: a refusal must not tell whether it was right.
    ///
    /// # Errors
    /// When too many failed.
    pub fn may_log_in(&self, source: Source, account: &str, now: Instant) -> Result<(), TooMany> {
        let (source, now) = (source.0.to_string(), self.ns(now));
        self.failed_by_source.look(&key_of(&[&source]), now)?;
        self.failed_by_both.look(&key_of(&[&source, account]), now)?;
        self.failed_by_account.look(&key_of(&[account]), now)
    }

    /// Whether an ID token may be presented from there. Whose it is, is not known before it was looked at.
    ///
    /// # Errors
    /// When too many failed.
    pub fn may_sign_in(&self, source: Source, now: Instant) -> Result<(), TooMany> {
        self.failed_by_source.look(&key_of(&[&source.0.to_string()]), self.ns(now))
    }

    /// Counts an ID token that was not taken.
    pub fn sign_in_failed(&self, source: Source, now: Instant) {
        let _ = self.failed_by_source.take(&key_of(&[&source.0.to_string()]), self.ns(now));
    }

    /// Counts a login that failed. A bucket that is empty already stays so: trying on makes nobody wait longer.
    pub fn login_failed(&self, source: Source, account: &str, now: Instant) {
        let (source, now) = (source.0.to_string(), self.ns(now));
        let _ = self.failed_by_source.take(&key_of(&[&source]), now);
        let _ = self.failed_by_both.take(&key_of(&[&source, account]), now);
        let _ = self.failed_by_account.take(&key_of(&[account]), now);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: u64 = 1_000_000_000;
    const MS: u64 = 1_000_000;
    const SECOND: Duration = Duration::from_secs(1);

    fn key(text: &str) -> Digest {
        key_of(&[text])
    }

    fn source(text: &str) -> Source {
        text.parse::<IpAddr>().unwrap().into()
    }

    proptest! {
        #[test]
        fn no_span_of_time_lets_through_more_than_the_burst_and_what_came_back(
            per_minute in 1u32..200, burst in 1u32..20, waits in prop::collection::vec(0u64..2_000, 1..200),
        ) {
            let buckets = Buckets::new(Rate { per_minute, burst }, 10);
            let (mut now, mut passed) = (START, Vec::new());
            for wait in waits {
                now += wait * MS;
                if buckets.take(&key("a"), now).is_ok() {
                    passed.push(now);
                }
            }
            for (index, from) in passed.iter().enumerate() {
                for (more, to) in passed[index..].iter().enumerate() {
                    let back = (to - from) * u64::from(per_minute) / 60_000_000_000;
                    prop_assert!((more as u64) < u64::from(burst) + back);
                }
            }
        }

        #[test]
        fn who_waits_as_told_is_let_through(per_minute in 1u32..5_000, burst in 1u32..50) {
            let buckets = Buckets::new(Rate { per_minute, burst }, 10);
            for _ in 0..burst {
                prop_assert!(buckets.take(&key("a"), START).is_ok());
            }
            let too_many = buckets.take(&key("a"), START).unwrap_err();
            let back = START + u64::try_from(too_many.after.as_nanos()).unwrap();
            prop_assert!(buckets.look(&key("a"), back - 1).is_err(), "not a moment before");
            prop_assert!(buckets.take(&key("a"), back).is_ok());
            prop_assert!(Duration::from_secs(too_many.seconds()) >= too_many.after && too_many.seconds() > 0);
        }

        #[test]
        fn one_key_never_costs_another(keys in prop::collection::vec("[a-e]", 0..200)) {
            let buckets = Buckets::new(Rate { per_minute: 60, burst: 3 }, 10);
            for (index, text) in keys.iter().enumerate() {
                let before = keys[..index].iter().filter(|other| *other == text).count();
                prop_assert_eq!(buckets.take(&key(text), START).is_ok(), before < 3);
            }
        }

        #[test]
        fn a_table_never_holds_more_than_it_may(keys in prop::collection::vec(0u32..1000, 0..300), max in 1usize..20) {
            let buckets = Buckets::new(Rate { per_minute: 1, burst: 2 }, max);
            for text in &keys {
                let _ = buckets.take(&key(&text.to_string()), START);
                prop_assert!(buckets.full_at.lock().len() <= max);
            }
        }
    }

    #[test]
    fn buckets_that_are_full_again_make_room_before_those_in_use() {
        let buckets = Buckets::new(Rate { per_minute: 60, burst: 5 }, 2);
        buckets.take(&key("old"), START).unwrap();
        (0..5).for_each(|_| buckets.take(&key("busy"), START).unwrap());
        buckets.take(&key("new"), START + 1_000 * MS).unwrap();
        assert!(buckets.look(&key("busy"), START).is_err(), "its bucket is still there");
    }

    #[test]
    fn a_principal_may_make_two_thousand_requests_a_minute() {
        let limits = RateLimits::default();
        let (now, one) = (Instant::now(), Principal::Credential(Digest::sha256(b"one")));
        assert_eq!((0..2_100).filter(|_| limits.request(one, now).is_ok()).count(), 2_000);
        assert!(limits.request(Principal::Source(source("192.0.2.1")), now).is_ok());
        assert_eq!((0..100).filter(|_| limits.request(one, now + SECOND).is_ok()).count(), 33);
    }

    #[test]
    fn twenty_tiles_of_a_log_count_as_one_request() {
        let limits = RateLimits::default();
        let (now, one) = (Instant::now(), Principal::Credential(Digest::sha256(b"one")));
        let tiles = (0..50_000).filter(|_| limits.tile(one, now).is_ok()).count();
        assert!((39_981..=40_000).contains(&tiles), "{tiles}: the last part of a request is not enough for one");
        assert!(limits.request(one, now).is_err(), "they are counted together");
        let again = (0..100).filter(|_| limits.request(one, now + SECOND).is_ok()).count();
        assert!((33..=34).contains(&again), "{again}: a part of one was left");
    }

    #[test]
    fn failed_logins_are_limited_per_source_and_account_and_good_ones_cost_nothing() {
        let (limits, now) = (RateLimits::default(), Instant::now());
        let (one, two) = (source("192.0.2.1"), source("192.0.2.2"));
        assert!((0..100).all(|_| limits.may_log_in(one, "alice@example.com", now).is_ok()));
        (0..5).for_each(|_| limits.login_failed(one, "alice@example.com", now));
        assert!(limits.may_log_in(one, " Alice@example.com", now).is_err(), "spelling does not help");
        assert!(limits.may_log_in(one, "bob@example.com", now).is_ok());
        assert!(limits.may_log_in(two, "alice@example.com", now).is_ok(), "nobody locks somebody else out");
    }

    #[test]
    fn one_source_can_not_try_many_accounts_nor_many_sources_one_account() {
        let (limits, now) = (RateLimits::default(), Instant::now());
        let one = source("192.0.2.1");
        (0..20).for_each(|n| limits.login_failed(one, &n.to_string(), now));
        assert!(limits.may_log_in(one, "fresh@example.com", now).is_err());
        (0..100).for_each(|n| limits.login_failed(source(&format!("192.0.2.{n}")), "alice@example.com", now));
        assert!(limits.may_log_in(source("192.0.2.200"), "alice@example.com", now).is_err());
    }

    #[test]
    fn a_holder_of_ipv6_is_one_source_with_its_whole_network() {
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:1"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        assert_ne!(key_of(&["a", "b"]), key_of(&["ab", ""]));
    }
}
