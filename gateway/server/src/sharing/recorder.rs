//! casbin's own effects, with a note of the line that decided (Z7).

use std::cell::Cell;

use casbin::{DefaultEffector, EffectKind, Effector, EffectorStream};

thread_local! {
    /// Index of the `p` line that decided the last request on this thread. casbin decides synchronously, so
    /// whoever asks reads it before anybody else can write.
    static DECIDED_BY: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The line that decided the last request on this thread, by its place among the `p` lines.
pub(super) fn deciding_line() -> Option<usize> {
    DECIDED_BY.get()
}

/// [`DefaultEffector`] that records.
#[derive(Default)]
pub(super) struct Recorder(DefaultEffector);

struct RecordingStream {
    inner: Box<dyn EffectorStream>,
    index: usize,
}

impl Effector for Recorder {
    fn new_stream(&self, expression: &str, capacity: usize) -> Box<dyn EffectorStream> {
        DECIDED_BY.set(None);
        Box::new(RecordingStream {
            inner: self.0.new_stream(expression, capacity),
            index: 0,
        })
    }
}

impl EffectorStream for RecordingStream {
    fn next(&self) -> bool {
        self.inner.next()
    }

    fn push_effect(&mut self, effect: EffectKind) -> bool {
        match effect {
            EffectKind::Deny => DECIDED_BY.set(Some(self.index)),
            EffectKind::Allow if DECIDED_BY.get().is_none() => DECIDED_BY.set(Some(self.index)),
            EffectKind::Allow | EffectKind::Indeterminate => {}
        }
        self.index += 1;
        self.inner.push_effect(effect)
    }
}
