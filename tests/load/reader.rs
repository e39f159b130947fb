//! A device that receives: it follows the logs of its audiences by the sync route, as an agent does.

use std::collections::BTreeSet;

use agent_seal::DeviceSigner as _;
use anyhow::{bail, ensure};
use gateway_api::v1::sync;
use policies::terms::{DeviceId, Digest};

use crate::device::Device;

/// How long the gateway may hold an answer back for lack of news, seconds: below the limit of a call.
const WAIT_S: u32 = 20;

/// A recipient's device, and how far it has read.
pub(crate) struct Reader {
    /// In the order of enrollment, from 0.
    pub(crate) number: usize,
    pub(crate) device: Device,
    read: sync::SyncRequest,
}

impl Reader {
    pub(crate) fn new(number: usize, device: Device) -> Self {
        Self {
            number,
            device,
            read: sync::SyncRequest::default(),
        }
    }

    pub(crate) fn id(&self) -> DeviceId {
        self.device.key.device()
    }

    /// Takes in its Welcomes, and learns what it would otherwise be woken for.
    pub(crate) async fn settle(&mut self) -> anyhow::Result<()> {
        let stories = self.sync().await?;
        ensure!(stories.is_empty(), "there are stories already");
        Ok(())
    }

    /// Waits for so many stories: their envelopes' digests. A story that comes twice, or another one, fails it.
    pub(crate) async fn receive(&mut self, count: usize) -> anyhow::Result<BTreeSet<Digest>> {
        let mut stories = BTreeSet::new();
        while stories.len() < count {
            self.read.wait_s = WAIT_S;
            let more = self.sync().await?;
            ensure!(!more.is_empty(), "{} of {count} stories came", stories.len());
            for story in more {
                ensure!(stories.insert(story), "a story came twice");
            }
        }
        Ok(stories)
    }

    async fn sync(&mut self) -> anyhow::Result<Vec<Digest>> {
        let answer: sync::SyncResponse = self.device.post(sync::PATH, &self.read).await?;
        if let Some(last) = answer.inbox.last() {
            self.read.inbox = last.sequence;
        }
        self.read.policy_version = answer.policy_version;
        self.read.directory_size = answer.directory_size;
        let mut stories = Vec::new();
        for (audience, items) in answer.groups {
            for item in items {
                let before = self.read.groups.insert(audience, item.sequence);
                ensure!(
                    before.is_none_or(|before| before < item.sequence),
                    "the log is not in order"
                );
                match item.body {
                    sync::GroupBody::Story { envelope, .. } => stories.push(Digest::of(&envelope.0)),
                    sync::GroupBody::Commit { .. }
                    | sync::GroupBody::Proposal { .. }
                    | sync::GroupBody::Revoked { .. } => bail!("something else than stories is in the log"),
                }
            }
        }
        Ok(stories)
    }
}
