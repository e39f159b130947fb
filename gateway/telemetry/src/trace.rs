//! Spans: around work, and of work that is over.

use std::time::SystemTime;

use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{FutureExt as _, Span as _, SpanContext, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, trace};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracer;

use crate::allowed::{Field, SpanName};

/// The header of W3C Trace Context.
pub const TRACEPARENT: &str = "traceparent";
/// `00-`, 32 digits, `-`, 16 digits, `-`, 2 digits.
const TRACEPARENT_LENGTH: usize = 55;

/// Makes spans. Without an exporter it still draws ids, so that another program's spans have a trace to be in.
#[derive(Clone, Debug)]
pub struct Tracing {
    pub(crate) tracer: SdkTracer,
    /// Whether there is anybody for whom a span, or its id, is made.
    pub(crate) is_active: bool,
}

/// A span that others hang below.
#[derive(Clone, Debug)]
pub struct Place(SpanContext);

impl Tracing {
    /// Does the work in a span below the current one, or of a new trace.
    pub async fn within<T>(&self, name: SpanName, work: impl Future<Output = T>) -> T {
        self.below(&Context::current(), name, work).await
    }

    /// Does the work in a span below that of a peer, of whom nothing but the ids is believed.
    pub async fn within_remote<T>(
        &self,
        place: Option<Place>,
        name: SpanName,
        work: impl Future<Output = T>,
    ) -> T {
        let parent = match place {
            Some(Place(place)) => Context::new().with_remote_span_context(place),
            None => Context::new(),
        };
        self.below(&parent, name, work).await
    }

    async fn below<T>(&self, parent: &Context, name: SpanName, work: impl Future<Output = T>) -> T {
        if !self.is_active {
            return work.await;
        }
        let span = self.tracer.start_with_context(name.as_str(), parent);
        work.with_context(parent.with_span(span)).await
    }

    /// The same for work that does not wait.
    pub fn within_now<T>(&self, name: SpanName, work: impl FnOnce() -> T) -> T {
        if !self.is_active {
            return work();
        }
        let span = self.tracer.start(name.as_str());
        let _current = trace::mark_span_as_active(span);
        work()
    }

    /// Notes a span of work that is over; its place.
    pub fn over(
        &self,
        below: &Place,
        name: SpanName,
        (from, to): (SystemTime, SystemTime),
        fields: impl IntoIterator<Item = Field>,
    ) -> Place {
        let parent = Context::new().with_remote_span_context(below.0.clone());
        let builder = self.tracer.span_builder(name.as_str()).with_start_time(from);
        let mut span = self.tracer.build_with_context(builder, &parent);
        for field in fields {
            span.set_attribute(field.into_attribute());
        }
        span.end_with_timestamp(to);
        Place(span.span_context().clone())
    }
}

impl Place {
    /// The current span, if it is exported.
    #[must_use]
    pub fn current() -> Option<Self> {
        let context = Context::current();
        let span = context.span();
        let place = span.span_context();
        place.is_sampled().then(|| Self(place.clone()))
    }

    /// Reads a peer's `traceparent`. One that is not well formed is none.
    #[must_use]
    pub fn received(traceparent: &str) -> Option<Self> {
        struct Header<'a>(&'a str);
        impl Extractor for Header<'_> {
            fn get(&self, key: &str) -> Option<&str> {
                (key == TRACEPARENT).then_some(self.0)
            }
            fn keys(&self) -> Vec<&str> {
                vec![TRACEPARENT]
            }
        }
        if !is_well_formed(traceparent) {
            return None;
        }
        let read = TraceContextPropagator::new().extract_with_context(&Context::new(), &Header(traceparent));
        let place = read.span().span_context().clone();
        place.is_valid().then_some(Self(place))
    }
}

/// Lower-case digits in their places; the propagator takes more.
fn is_well_formed(traceparent: &str) -> bool {
    let is_in_place = |(place, byte): (usize, u8)| match place {
        2 | 35 | 52 => byte == b'-',
        0 | 1 => byte == b'0',
        _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
    };
    traceparent.len() == TRACEPARENT_LENGTH && traceparent.bytes().enumerate().all(is_in_place)
}

/// Adds fields to the current span; they are made only if it is exported.
pub fn note<I: IntoIterator<Item = Field>>(fields: impl FnOnce() -> I) {
    let context = Context::current();
    let span = context.span();
    if span.is_recording() {
        span.set_attributes(fields().into_iter().map(Field::into_attribute));
    }
}

/// The header for a request that is made in the current span; none outside of any.
#[must_use]
pub fn traceparent() -> Option<String> {
    let context = Context::current();
    let span = context.span();
    let place = span.span_context();
    let flags = u8::from(place.is_sampled());
    place
        .is_valid()
        .then(|| format!("00-{}-{}-{flags:02x}", place.trace_id(), place.span_id()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Exports, Program, Settings};

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn malformed_traceparent_is_none() {
        assert!(Place::received(GOOD).is_some());
        for bad in [
            "",
            "00",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
            "00-0af7651916cd43dd8448eb211c80319-0b7ad6b7169203331-01",
            "00-alice@example.com-alice@example.com-alice@example.co",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert!(Place::received(bad).is_none(), "{bad}");
        }
    }

    /// The id that a peer reads is the one that its own peer wrote, and spans nest.
    #[tokio::test]
    async fn trace_goes_on_at_the_peer() {
        let program = Program {
            name: "t",
            version: "0",
            signals: &[],
            begins_traces: true,
        };
        let exports = Exports::start(&Settings::default(), program).unwrap();
        let tracing = exports.tracing().clone();
        assert_eq!(traceparent(), None);
        let (outer, inner) = tracing
            .within(SpanName::Share, async {
                let outer = traceparent().unwrap();
                let inner = tracing
                    .within(SpanName::Send, async { traceparent().unwrap() })
                    .await;
                (outer, inner)
            })
            .await;
        let trace = |header: &str| header.split('-').nth(1).unwrap().to_owned();
        assert_eq!(trace(&outer), trace(&inner));
        assert_ne!(outer, inner);
        assert!(inner.ends_with("-00"), "nothing is exported: {inner}");
        let place = Place::received(&inner);
        let at_peer = tracing.within_remote(place, SpanName::Request, async { traceparent().unwrap() });
        assert_eq!(trace(&at_peer.await), trace(&outer));
    }
}
