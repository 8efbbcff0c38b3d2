//! T6 for snapshots: a state read back from its image, and folded on, is the state of a full replay, its past included.
use mcpctl_core::ids::{Digest, RequestId, Seq};
use mcpctl_core::record::Record;
use mcpctl_projections::{IMAGE_FORMAT, ImageError, State};
use proptest::prelude::*;

use crate::escalation::{step, take};
use crate::past::{Ever, churn, told};
use crate::questions::lived;
use crate::town::Town;

/// The records of a town, some of them with request ids, two of which one request caused.
fn requested(town: &Town) -> Vec<Record> {
    let mut records = town.records.clone();
    for (index, record) in records.iter_mut().enumerate() {
        let request = (index % 3 != 0).then(|| RequestId::try_from(format!("request-{}", index / 2)).unwrap());
        record.header.request = request;
    }
    records
}

fn fold(state: &mut State, record: &Record) {
    let hash = Digest::sha256(&record.header.seq.0.to_be_bytes());
    state.fold(record, hash).unwrap();
}

fn again(state: &State) -> State {
    State::of_image(&state.to_image()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_snapshot_at_any_seq_and_the_tail_are_a_full_replay(
        steps in prop::collection::vec(step(), 1..20), bindings in any::<u8>(), subjects in any::<u8>(),
        churned in prop::collection::vec(0u8..42, 0..40), more in prop::collection::vec(step(), 0..10),
    ) {
        let mut town = lived(&steps, bindings, subjects);
        churn(&mut town, &churned);
        more.iter().for_each(|step| drop(take(&mut town, step)));
        let (records, ever) = (requested(&town), Ever::in_log(&town.records));
        let mut full = State::default();
        records.iter().for_each(|record| fold(&mut full, record));
        let then: Vec<_> = (0..=records.len() as u64).map(|seq| told(&full.at(Seq(seq)), &ever)).collect();
        let mut state = State::default();
        for n in 0..=records.len() {
            let mut resumed = again(&state);
            prop_assert_eq!(resumed.to_image(), state.to_image(), "read back at {}", n);
            records[n..].iter().for_each(|record| fold(&mut resumed, record));
            prop_assert_eq!(resumed.canonical(), full.canonical(), "at {}", n);
            prop_assert_eq!(resumed.to_image(), full.to_image(), "at {}", n);
            // Every answer about every seq, for some of the points: the images above are equal at all of them.
            if n % 7 == 0 {
                for (seq, then) in then.iter().enumerate() {
                    prop_assert_eq!(&told(&resumed.at(Seq(seq as u64)), &ever), then, "{} as of {}", n, seq);
                }
            }
            if let Some(record) = records.get(n) {
                fold(&mut state, record);
            }
        }
    }
}

#[test]
fn an_image_that_is_cut_or_of_another_format_is_refused() {
    let image = Town::given(crate::town::BASE).state.to_image();
    for length in 0..image.len() {
        assert!(State::of_image(&image[..length]).is_err(), "{length} of {} bytes", image.len());
    }
    let mut other = image;
    assert_eq!(u32::from(other[1]), IMAGE_FORMAT, "the format stands first");
    other[1] = 9;
    assert!(matches!(State::of_image(&other), Err(ImageError::Format { found: 9 })));
}
