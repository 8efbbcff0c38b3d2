//! A list of places within a shard, ascending, as bytes: steps of variable length, or one bit for each place, whichever
//! is shorter.

const STEPS: u8 = 0;
const BITS: u8 = 1;

/// Writes a list; `places` is how many places a shard has.
pub(super) fn encode(list: &[u32], places: u32) -> Vec<u8> {
    let mut bytes = vec![STEPS];
    let bits = 1 + places.div_ceil(8) as usize;
    let mut next = 0;
    for place in list {
        let mut step = place - next;
        next = place + 1;
        while step >= 0x80 {
            bytes.push((step & 0x7f) as u8 | 0x80);
            step >>= 7;
        }
        bytes.push(step as u8);
        if bytes.len() > bits {
            return encode_bits(list, bits);
        }
    }
    bytes
}

fn encode_bits(list: &[u32], length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    bytes[0] = BITS;
    for place in list {
        bytes[1 + *place as usize / 8] |= 1 << (place % 8);
    }
    bytes
}

/// Reads a list of `count` places; nothing when the bytes are none.
pub(super) fn decode(bytes: &[u8], count: usize, places: u32) -> Option<Vec<u32>> {
    let (how, rest) = bytes.split_first()?;
    let list = match *how {
        STEPS => decode_steps(rest, count)?,
        BITS => decode_bits(rest),
        _ => return None,
    };
    (list.len() == count && list.last().is_none_or(|last| *last < places)).then_some(list)
}

fn decode_steps(bytes: &[u8], count: usize) -> Option<Vec<u32>> {
    let mut list = Vec::with_capacity(count.min(bytes.len()));
    let (mut next, mut step, mut shift) = (0u32, 0u32, 0u32);
    for byte in bytes {
        step |= u32::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            let place = next.checked_add(step)?;
            list.push(place);
            next = place.checked_add(1)?;
            (step, shift) = (0, 0);
        } else {
            shift += 7;
        }
    }
    (shift == 0).then_some(list)
}

fn decode_bits(bytes: &[u8]) -> Vec<u32> {
    let mut list = Vec::new();
    for (at, byte) in (0u32..).zip(bytes) {
        let mut left = *byte;
        while left != 0 {
            list.push(at * 8 + left.trailing_zeros());
            left &= left - 1;
        }
    }
    list
}

/// The places that are in both lists.
pub(super) fn both(one: &[u32], other: &[u32]) -> Vec<u32> {
    let (short, long) = if one.len() <= other.len() { (one, other) } else { (other, one) };
    if long.len() / 16 > short.len() {
        return short.iter().copied().filter(|place| long.binary_search(place).is_ok()).collect();
    }
    let mut long = long.iter().copied().peekable();
    let holds = |place: &u32| {
        while long.next_if(|at| at < place).is_some() {}
        long.peek() == Some(place)
    };
    short.iter().copied().filter(holds).collect()
}

/// The places that are in any of the lists.
pub(super) fn union(mut lists: Vec<Vec<u32>>) -> Vec<u32> {
    match lists.len() {
        0 => Vec::new(),
        1 => lists.remove(0),
        _ => {
            let mut all = lists.concat();
            all.sort_unstable();
            all.dedup();
            all
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const PLACES: u32 = 3000;

    fn lists() -> impl Strategy<Value = Vec<u32>> {
        let dense = prop::collection::btree_set(0..PLACES, 0..2500);
        let sparse = prop::collection::btree_set(0..PLACES, 0..20);
        prop_oneof![dense, sparse].prop_map(|set| set.into_iter().collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_list_comes_back_as_it_was_and_is_never_longer_than_a_bit_for_each_place(list in lists()) {
            let bytes = encode(&list, PLACES);
            prop_assert!(bytes.len() <= 1 + PLACES as usize / 8);
            prop_assert_eq!(decode(&bytes, list.len(), PLACES), Some(list));
        }

        #[test]
        fn both_and_union_are_those_of_sets(one in lists(), other in lists()) {
            let [a, b] = [&one, &other].map(|list| list.iter().copied().collect::<BTreeSet<u32>>());
            prop_assert_eq!(both(&one, &other), a.intersection(&b).copied().collect::<Vec<_>>());
            prop_assert_eq!(union(vec![one, other]), a.union(&b).copied().collect::<Vec<_>>());
        }

        #[test]
        fn bytes_that_are_no_list_are_refused_and_harm_nothing(bytes in prop::collection::vec(any::<u8>(), 0..600), count in 0usize..5000) {
            if let Some(list) = decode(&bytes, count, PLACES) {
                prop_assert!(list.is_sorted() && list.len() == count && list.iter().all(|place| *place < PLACES));
            }
        }
    }
}
