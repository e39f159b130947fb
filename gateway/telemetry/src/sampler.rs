//! Which traces are exported.

use opentelemetry::trace::{Link, SpanKind, TraceContextExt as _, TraceId, TraceState};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SamplingDecision, SamplingResult, ShouldSample};

use crate::allowed::Hasher;

/// Decides by a keyed hash of the trace's id: all spans of a trace in this process agree, and a peer that chooses ids, or
/// sets the flag, chooses nothing.
#[derive(Clone, Debug)]
pub(crate) struct KeyedRatio {
    hasher: Hasher,
    /// Hashes below this are exported: 2^64 for all.
    below: u128,
}

impl KeyedRatio {
    /// `ratio` of the traces, from 0 to 1.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "INVARIANT: between 0 and 2^64"
    )]
    pub(crate) fn new(hasher: Hasher, ratio: f64) -> Self {
        let below = (ratio.clamp(0.0, 1.0) * 2_f64.powi(64)) as u128;
        Self { hasher, below }
    }

    fn takes(&self, trace: TraceId) -> bool {
        u128::from(self.hasher.number(&trace.to_bytes())) < self.below
    }
}

impl ShouldSample for KeyedRatio {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        _: &str,
        _: &SpanKind,
        _: &[KeyValue],
        _: &[Link],
    ) -> SamplingResult {
        let parent = parent.filter(|parent| parent.has_active_span());
        let parent = parent.map(|parent| parent.span().span_context().clone());
        let is_taken = match parent {
            Some(ours) if ours.is_valid() && !ours.is_remote() => ours.is_sampled(),
            Some(_) | None => self.takes(trace),
        };
        SamplingResult {
            decision: if is_taken {
                SamplingDecision::RecordAndSample
            } else {
                SamplingDecision::Drop
            },
            attributes: Vec::new(),
            trace_state: TraceState::NONE,
        }
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags};

    use super::*;

    fn remote(trace: u128) -> Context {
        Context::new().with_remote_span_context(SpanContext::new(
            TraceId::from(trace),
            SpanId::from(7),
            TraceFlags::SAMPLED,
            true,
            TraceState::NONE,
        ))
    }

    fn taken(sampler: &KeyedRatio, trace: u128) -> bool {
        let context = remote(trace);
        let result = sampler.should_sample(
            Some(&context),
            TraceId::from(trace),
            "",
            &SpanKind::Internal,
            &[],
            &[],
        );
        result.decision == SamplingDecision::RecordAndSample
    }

    /// Every one of these asks for it by its flag, and the ids are the ones that a sampler by id would take.
    #[test]
    fn device_cannot_have_more_than_the_ratio_exported() {
        let share = |ratio| {
            let sampler = KeyedRatio::new(Hasher::new().unwrap(), ratio);
            (1..=2_000).filter(|trace| taken(&sampler, *trace)).count()
        };
        assert_eq!(share(0.0), 0);
        assert_eq!(share(1.0), 2_000);
        let some = share(0.1);
        assert!((100..300).contains(&some), "{some}");
    }

    #[test]
    fn spans_of_one_trace_agree() {
        let sampler = KeyedRatio::new(Hasher::new().unwrap(), 0.5);
        assert!((1..100).all(|trace| taken(&sampler, trace) == taken(&sampler, trace)));
    }
}
