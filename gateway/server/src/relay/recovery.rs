//! What a crash left between the two transactions of K12, settled before anything is served: a held row whose ledger
//! entry exists is finished; one without is dropped, and the agent sends again.

use policies::terms::EntryId;

use super::writer::deliver;
use crate::config::keys::Keys;
use crate::store::logs::Ledger;
use crate::store::stories::Story;
use crate::store::{Store, stories};

/// Settles held rows, whose entries come no earlier than `held_from`: (finished, dropped).
pub(crate) async fn recover(
    store: &Store,
    ledger: &Ledger,
    keys: &Keys,
    held_from: u64,
) -> anyhow::Result<(usize, usize)> {
    let held = store.held_stories().await?;
    if held.is_empty() {
        return Ok((0, 0));
    }
    let wanted: Vec<EntryId> = held.iter().map(|story| story.entry).collect();
    let recorded = ledger.find_entries(held_from, wanted).await?;
    let mut write = store.write().await?;
    let (finished, lost): (Vec<&Story>, Vec<&Story>) =
        held.iter().partition(|story| recorded.contains(&story.entry));
    deliver(&mut write, keys, &finished).await?;
    for story in &lost {
        stories::drop_held(&mut write, story.cti).await?;
    }
    write.commit().await?;
    Ok((finished.len(), lost.len()))
}
