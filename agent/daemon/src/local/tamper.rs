//! What was refused at the local API, counted per cause (A8, T3): each cause is an alarm once, and
//! `status` shows how often and when last. The counts are those since the agent started.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::wire::{TamperCause, TamperView};

/// Counts of refusals.
#[derive(Debug, Default)]
pub(crate) struct Tamper {
    seen: Mutex<BTreeMap<TamperCause, Seen>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    count: u64,
    last_at_s: u64,
}

impl Tamper {
    /// Counts one; true for the first of its cause.
    pub(crate) fn note(&self, cause: TamperCause, at_s: u64) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = seen.entry(cause).or_default();
        seen.count = seen.count.saturating_add(1);
        seen.last_at_s = at_s;
        seen.count == 1
    }

    /// What was counted.
    pub(crate) fn view(&self) -> Vec<TamperView> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let views = seen.iter().map(|(cause, seen)| TamperView {
            cause: *cause,
            count: seen.count,
            last_at_s: seen.last_at_s,
        });
        views.collect()
    }
}

/// What a cause means, and what to do.
pub(crate) const fn sentence(cause: TamperCause) -> &'static str {
    match cause {
        TamperCause::OtherUser => "another user of this machine tried to use the agent",
        TamperCause::Browser => "something that looks like a web page tried to use the agent",
        TamperCause::WrongCredential => {
            "somebody used an app's credential that is not valid; if an app was set up again, its old credential file is the cause"
        }
        TamperCause::WrongProgram => {
            "an app's credential was used by another program than the registered one; after an update of the app, register it again"
        }
        TamperCause::BeyondItsRights => "an app tried to use more than apps may",
        TamperCause::BadReceipt => "an app used a receipt that does not belong to what it sent",
        TamperCause::TooManyConnections => "more connections were open to the agent than it takes",
        TamperCause::SlowBody => "a request was sent too slowly",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A8
    #[test]
    fn refusals_are_counted_per_cause() {
        let tamper = Tamper::default();
        assert!(tamper.note(TamperCause::WrongCredential, 10));
        assert!(!tamper.note(TamperCause::WrongCredential, 20));
        assert!(tamper.note(TamperCause::Browser, 15));
        let views: Vec<_> = tamper
            .view()
            .into_iter()
            .map(|view| (view.cause, view.count, view.last_at_s))
            .collect();
        assert_eq!(
            views,
            [
                (TamperCause::Browser, 1, 15),
                (TamperCause::WrongCredential, 2, 20)
            ]
        );
    }
}
