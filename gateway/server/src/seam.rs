//! Places between two durable steps. A test ends the gateway's work there, as a crash would; in the product they are
//! nothing.

/// What has just been done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    /// Stories are held, with their ciphertext (K12).
    Held,
    /// Their entries are in the ledger.
    Recorded,
    /// They are deliverable; nobody was told.
    Released,
    /// The entry of a group's change or of a takeback is in the ledger; nothing is changed.
    ChangeRecorded,
    /// It is carried out; nobody was told.
    Changed,
    /// Something is done, and an entry is owed for it.
    Owed,
    /// The entry is in the ledger.
    OwedRecorded,
    /// A device has its certificate, and is in no log.
    Certified,
    /// An entry of the directory log is about to be written.
    Intended,
    /// It is written.
    Logged,
    /// The ledger says so too.
    LoggedRecorded,
    /// Keys of ended buckets are destroyed.
    KeysDestroyed,
    /// Objects are gone; the write-ahead log may hold rows.
    ObjectsRemoved,
    /// Events are held.
    EventsHeld,
    /// Their entries are in the ledger.
    EventsRecorded,
}

/// The seams of one gateway.
#[derive(Debug, Default)]
pub(crate) struct Seams {
    #[cfg(test)]
    armed: std::sync::Mutex<Option<(Point, std::sync::Arc<tokio::sync::Notify>)>>,
}

#[cfg(not(test))]
impl Seams {
    /// A step has been done.
    #[inline]
    pub(crate) fn reach(&self, _: Point) -> std::future::Ready<()> {
        std::future::ready(())
    }
}

#[cfg(test)]
impl Seams {
    /// A step has been done: work that is to end here never goes on.
    pub(crate) async fn reach(&self, step: Point) {
        let reached = match &*self.armed.lock().unwrap() {
            Some((armed, reached)) if *armed == step => std::sync::Arc::clone(reached),
            Some(_) | None => return,
        };
        reached.notify_one();
        std::future::pending().await
    }

    /// Ends the work at this step; the answer is told when it gets there.
    pub(crate) fn end_at(&self, step: Point) -> std::sync::Arc<tokio::sync::Notify> {
        let reached = std::sync::Arc::default();
        *self.armed.lock().unwrap() = Some((step, std::sync::Arc::clone(&reached)));
        reached
    }
}

#[cfg(test)]
mod damage;
#[cfg(test)]
mod tests;
