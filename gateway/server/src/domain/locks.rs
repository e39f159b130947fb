//! A lock per thing, made when it is needed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Locks by what they are about.
#[derive(Debug)]
pub(crate) struct Locks<K> {
    held: Mutex<BTreeMap<K, Arc<tokio::sync::Mutex<()>>>>,
}

impl<K> Default for Locks<K> {
    fn default() -> Self {
        Self {
            held: Mutex::default(),
        }
    }
}

impl<K: Ord> Locks<K> {
    /// The lock of this one.
    pub(crate) fn of(&self, key: K) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody holds or awaits what only the map knows.
        locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        Arc::clone(locks.entry(key).or_default())
    }
}
