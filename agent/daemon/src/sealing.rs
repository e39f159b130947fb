//! The sealing state in memory and in the store: never apart.
//!
//! A change is made in memory first and written then. When the write fails, or whoever makes the change is not waited
//! for any more, memory is ahead: keys may be used up there that the store still has, and what they open would be
//! passed over when it comes again. So whoever takes the state up next takes it from the store (M6).

use std::ops::{Deref, DerefMut};

use agent_seal::Member;
use tokio::sync::{Mutex, MutexGuard};

use crate::vault::{Vault, mls_record};

/// The sealing state; one at a time has it.
pub(crate) struct Sealing {
    slot: Mutex<Slot>,
}

struct Slot {
    member: Member,
    /// Memory may be ahead of the store.
    in_doubt: bool,
}

/// The state, to be looked at.
pub(crate) struct Looking<'a>(MutexGuard<'a, Slot>);

/// The state, to be changed. Memory counts as ahead of the store until [`Changing::settled`].
pub(crate) struct Changing<'a>(MutexGuard<'a, Slot>);

impl Sealing {
    /// What the store holds.
    pub(crate) fn new(member: Member) -> Self {
        let in_doubt = false;
        Self {
            slot: Mutex::new(Slot { member, in_doubt }),
        }
    }

    /// The state, with nobody changing it.
    ///
    /// # Errors
    /// An earlier change did not come to its end, and the store cannot be read.
    pub(crate) async fn look(&self, vault: &Vault) -> anyhow::Result<Looking<'_>> {
        Ok(Looking(self.take_up(vault).await?))
    }

    /// The state, to change and to write.
    ///
    /// # Errors
    /// As [`Self::look`].
    pub(crate) async fn change(&self, vault: &Vault) -> anyhow::Result<Changing<'_>> {
        let mut slot = self.take_up(vault).await?;
        slot.in_doubt = true;
        Ok(Changing(slot))
    }

    async fn take_up(&self, vault: &Vault) -> anyhow::Result<MutexGuard<'_, Slot>> {
        let mut slot = self.slot.lock().await;
        if slot.in_doubt {
            let records = mls_record::all(&mut *vault.connection().await?, &vault.cipher).await?;
            slot.member = Member::load(records)?;
            slot.in_doubt = false;
            tracing::info!("the sealing state was taken from the store again");
        }
        Ok(slot)
    }
}

impl Changing<'_> {
    /// How the change ended. After a success everything is written.
    pub(crate) fn settled<T>(mut self, outcome: anyhow::Result<T>) -> anyhow::Result<T> {
        self.0.in_doubt = outcome.is_err();
        outcome
    }
}

impl Deref for Looking<'_> {
    type Target = Member;

    fn deref(&self) -> &Member {
        &self.0.member
    }
}

impl Deref for Changing<'_> {
    type Target = Member;

    fn deref(&self) -> &Member {
        &self.0.member
    }
}

impl DerefMut for Changing<'_> {
    fn deref_mut(&mut self) -> &mut Member {
        &mut self.0.member
    }
}

#[cfg(test)]
mod tests {
    use agent_seal::FileDeviceKey;
    use policies::keys::Ed25519PublicKey;
    use policies::terms::{DeviceId, TenantId};

    use super::*;
    use crate::config::paths::Paths;

    const NOW_S: u64 = 1_800_000_000;

    /// A state that is written.
    async fn written(vault: &Vault) -> Sealing {
        let signer = FileDeviceKey::from_scalar(DeviceId::from_bytes([1; 16]), &[1; 32]).unwrap();
        // The base point: a key like any other.
        let mut gateway = [0x66; 32];
        gateway[0] = 0x58;
        let gateway = Ed25519PublicKey::from_bytes(&gateway).unwrap();
        let tenant = TenantId::parse("acme").unwrap();
        let mut member = Member::create(tenant, gateway, &signer, &mut rand::rng()).unwrap();
        let mut transaction = vault.begin().await.unwrap();
        let changes = member.take_changes();
        mls_record::apply(&mut transaction, &vault.cipher, changes)
            .await
            .unwrap();
        transaction.commit().await.unwrap();
        Sealing::new(member)
    }

    /// M6: a change that failed, or that nobody waited for, is not in memory either; one that was written is.
    #[tokio::test]
    async fn memory_is_never_ahead_of_the_store() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(&Paths::new(folder.path())).await.unwrap();
        let sealing = written(&vault).await;

        let mut dropped = sealing.change(&vault).await.unwrap();
        dropped.key_packages(1, NOW_S).unwrap();
        drop(dropped);
        let mut failed = sealing.change(&vault).await.unwrap();
        assert!(
            failed.take_changes().is_empty(),
            "what was dropped is still there"
        );
        failed.key_packages(1, NOW_S).unwrap();
        // Taken to be written, and then not written.
        assert!(!failed.take_changes().is_empty());
        let no_room = Err::<(), _>(anyhow::anyhow!("the disk is full"));
        assert!(failed.settled(no_room).is_err());

        let mut next = sealing.change(&vault).await.unwrap();
        assert!(next.take_changes().is_empty(), "what failed is still there");
        next.key_packages(1, NOW_S).unwrap();
        let mut transaction = vault.begin().await.unwrap();
        let changes = next.take_changes();
        mls_record::apply(&mut transaction, &vault.cipher, changes)
            .await
            .unwrap();
        transaction.commit().await.unwrap();
        next.settled(Ok(())).unwrap();
        let records = mls_record::all(&mut vault.connection().await.unwrap(), &vault.cipher)
            .await
            .unwrap();
        let stored = Sealing::new(Member::load(records).unwrap());
        for sealing in [sealing, stored] {
            assert!(sealing.change(&vault).await.unwrap().take_changes().is_empty());
        }
    }
}
