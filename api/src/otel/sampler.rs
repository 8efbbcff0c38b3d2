//! Which traces are kept: the samplers that every OpenTelemetry SDK has.

/// Which part of the traces is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampler {
    /// Traces whose lower half of the id is below this are kept; 2⁶⁴ is all of them.
    below: u128,
    /// Whether a trace that began elsewhere is kept exactly if it is there.
    follows_parent: bool,
}

impl Sampler {
    /// A sampler by its name (`OTEL_TRACES_SAMPLER`) and argument (`OTEL_TRACES_SAMPLER_ARG`).
    ///
    /// # Errors
    /// When there is no such sampler, or the argument is no number from 0 to 1: in words that do not repeat it.
    pub fn named(name: Option<&str>, argument: Option<&str>) -> Result<Self, &'static str> {
        let ratio = || match argument.map_or(Ok(1.0), |text| text.trim().parse::<f64>()) {
            Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
            _ => Err("OTEL_TRACES_SAMPLER_ARG is no number from 0 to 1"),
        };
        let (ratio, follows_parent) = match name.unwrap_or("parentbased_always_on").trim() {
            "always_on" => (1.0, false),
            "always_off" => (0.0, false),
            "traceidratio" => (ratio()?, false),
            "parentbased_always_on" => (1.0, true),
            "parentbased_always_off" => (0.0, true),
            "parentbased_traceidratio" => (ratio()?, true),
            _ => return Err("OTEL_TRACES_SAMPLER names no sampler that is known here"),
        };
        Ok(Self { below: share(ratio), follows_parent })
    }

    /// Whether a trace is kept. `parent` is whether the span before it is.
    #[must_use]
    pub fn keeps(&self, trace: u128, parent: Option<bool>) -> bool {
        match parent.filter(|_| self.follows_parent) {
            Some(kept) => kept,
            // As other SDKs do it: whoever decides by the id alone decides the same.
            None => trace & u128::from(u64::MAX) < self.below,
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the ratio is between 0 and 1")]
fn share(ratio: f64) -> u128 {
    (ratio * 2.0_f64.powi(64)) as u128
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_traces_is_kept_and_a_parent_decides_where_it_may() {
        let some = Sampler::named(Some("parentbased_traceidratio"), Some("0.25")).unwrap();
        let spread = |n: u128| n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let kept = (0..4_000).filter(|n| some.keeps(spread(*n), None)).count();
        assert!((900..1_100).contains(&kept), "{kept} of 4000");
        assert!(some.keeps(u128::MAX, Some(true)) && !some.keeps(0, Some(false)));
        let alone = Sampler::named(Some("traceidratio"), Some("0.25")).unwrap();
        assert!(!alone.keeps(u128::MAX, Some(true)) && alone.keeps(0, Some(false)));
    }

    #[test]
    fn all_and_none_are_meant() {
        let keeps = |name| Sampler::named(name, None).unwrap().keeps(u128::MAX, None);
        assert!(keeps(None) && keeps(Some("always_on")) && keeps(Some("parentbased_always_on")));
        assert!(!Sampler::named(Some("always_off"), None).unwrap().keeps(0, Some(true)));
        let off = Sampler::named(Some("parentbased_always_off"), None).unwrap();
        assert!(!off.keeps(0, None) && off.keeps(0, Some(true)));
    }

    #[test]
    fn what_is_no_sampler_is_said() {
        assert!(Sampler::named(Some("jaeger_remote"), None).is_err());
        for bad in ["1.1", "-0.1", "NaN", "x", ""] {
            assert!(Sampler::named(Some("traceidratio"), Some(bad)).is_err(), "{bad}");
        }
    }
}
