//! The receipt of a verdict (A10): "this app had this content inspected, and it may be shared".
//!
//! It is signed with the device key over the content's digest, short-lived and used once, so that
//! an app cannot have one thing checked and send another. [`CheckedReceipt`] is the proof that a
//! receipt was checked; only [`SignedReceipt::check`] makes one, and only spending it lets it count.
//!
//! ```text
//! text = base64(payload) "." base64(signature)      signature: ES256 over "sealgate/receipt/1" 0x00 payload
//! ```

use agent_seal::{DeviceSigner, SIGNATURE_BYTES};
use gateway_api::bytes::Bytes;
use policies::keys::DevicePublicKey;
use policies::terms::{Action, App, AudienceId, Digest, PolicyRef};
use serde::{Deserialize, Serialize};

use crate::limits::RECEIPT_LIFETIME_S;
use crate::vault::{Connection, spent_receipt};

/// Keeps these signatures apart from every other use of the device key.
const DOMAIN: &[u8] = b"sealgate/receipt/1\0";

/// What a verdict said about some content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Receipt {
    /// Random; spent once.
    #[serde(with = "hex_id")]
    pub id: [u8; 16],
    /// The app that asked.
    pub app: App,
    /// `policies::terms::draft_digest` of what was inspected.
    pub content: Digest,
    /// The audience for which it was decided; none: for nobody in particular.
    pub audience: Option<AudienceId>,
    pub action: Action,
    pub policy: PolicyRef,
    /// Unix seconds.
    pub at_s: u64,
    /// Unix seconds; from then on it counts for nothing.
    pub expires_at_s: u64,
}

/// A receipt that was checked for an app, a content and a time.
#[derive(Debug)]
pub(crate) struct CheckedReceipt(Receipt);

/// Why a receipt does not count. No reason names content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReceiptRefused {
    #[error("the receipt is not one of this device")]
    Forged,
    #[error("the receipt was given to another app")]
    OtherApp,
    #[error("the receipt is of other content")]
    OtherContent,
    #[error("the receipt has expired")]
    Expired,
    #[error("the receipt was used before")]
    Spent,
}

impl Receipt {
    /// A receipt from now on.
    pub(crate) fn new(
        id: [u8; 16],
        app: App,
        content: Digest,
        audience: Option<AudienceId>,
        decided: (Action, PolicyRef),
        now_s: u64,
    ) -> Self {
        let (action, policy) = decided;
        Self {
            id,
            app,
            content,
            audience,
            action,
            policy,
            at_s: now_s,
            expires_at_s: now_s.saturating_add(RECEIPT_LIFETIME_S),
        }
    }

    /// The text that the app is given.
    ///
    /// # Errors
    /// The device key did not sign.
    pub(crate) fn sign(&self, signer: &impl DeviceSigner) -> anyhow::Result<SignedReceipt> {
        let payload = serde_json::to_vec(self)?;
        let signature = signer.sign(&signed_bytes(&payload))?;
        let (payload, signature) = (Bytes(payload).to_text(), Bytes(signature.to_vec()).to_text());
        Ok(SignedReceipt(format!("{payload}.{signature}")))
    }
}

/// A receipt as it travels: anybody may have written it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct SignedReceipt(String);

impl SignedReceipt {
    /// The text of a header.
    pub(crate) fn from_text(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Checks that it is this device's, of this app and this content, and has not expired.
    ///
    /// # Errors
    /// Which of these does not hold.
    pub(crate) fn check(
        &self,
        key: &DevicePublicKey,
        app: &App,
        content: Digest,
        now_s: u64,
    ) -> Result<CheckedReceipt, ReceiptRefused> {
        let receipt = self.verified(key).ok_or(ReceiptRefused::Forged)?;
        if receipt.app != *app {
            return Err(ReceiptRefused::OtherApp);
        }
        if receipt.content != content {
            return Err(ReceiptRefused::OtherContent);
        }
        if now_s >= receipt.expires_at_s || now_s < receipt.at_s {
            return Err(ReceiptRefused::Expired);
        }
        Ok(CheckedReceipt(receipt))
    }

    /// Its id, if it is this device's and of this app, used or not, expired or not.
    pub(crate) fn id(&self, key: &DevicePublicKey, app: &App) -> Option<[u8; 16]> {
        self.verified(key)
            .filter(|receipt| receipt.app == *app)
            .map(|receipt| receipt.id)
    }

    fn verified(&self, key: &DevicePublicKey) -> Option<Receipt> {
        let (payload, signature) = self.0.split_once('.')?;
        let payload = Bytes::from_text(payload).ok()?.0;
        let signature: [u8; SIGNATURE_BYTES] = Bytes::from_text(signature).ok()?.0.try_into().ok()?;
        key.verify(&signed_bytes(&payload), &signature)
            .then(|| serde_json::from_slice(&payload).ok())
            .flatten()
    }
}

impl CheckedReceipt {
    /// What it says.
    pub(crate) const fn receipt(&self) -> &Receipt {
        &self.0
    }

    /// Uses it up, in the caller's transaction: what the receipt allows and that it is spent are
    /// durable together.
    ///
    /// # Errors
    /// The store's; inside, that it was used before.
    pub(crate) async fn spend(
        self,
        connection: &mut Connection,
    ) -> anyhow::Result<Result<Receipt, ReceiptRefused>> {
        let fresh = spent_receipt::spend(connection, &self.0.id, self.0.expires_at_s).await?;
        Ok(if fresh {
            Ok(self.0)
        } else {
            Err(ReceiptRefused::Spent)
        })
    }
}

fn signed_bytes(payload: &[u8]) -> Vec<u8> {
    [DOMAIN, payload].concat()
}

mod hex_id {
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(id: &[u8; 16], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(id))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 16], D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = hex::decode(text).map_err(de::Error::custom)?;
        bytes
            .try_into()
            .map_err(|_| de::Error::custom("an id has 16 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use agent_seal::FileDeviceKey;
    use policies::terms::DeviceId;

    use super::*;
    use crate::config::paths::Paths;
    use crate::vault::Vault;

    const NOW_S: u64 = 1_800_000_000;

    fn key(byte: u8) -> FileDeviceKey {
        FileDeviceKey::from_scalar(DeviceId::from_bytes([byte; 16]), &[byte; 32]).unwrap()
    }

    fn app(name: &str) -> App {
        App::parse(name).unwrap()
    }

    fn receipt() -> Receipt {
        let policy = PolicyRef {
            version: 3,
            digest: Digest::of(b"policy"),
            log_index: 7,
        };
        Receipt::new(
            [5; 16],
            app("ratchet"),
            Digest::of(b"draft"),
            None,
            (Action::Allow, policy),
            NOW_S,
        )
    }

    fn outcome(signed: &SignedReceipt, app_name: &str, content: &[u8], now_s: u64) -> Option<ReceiptRefused> {
        signed
            .check(&key(1).public_key(), &app(app_name), Digest::of(content), now_s)
            .err()
    }

    /// A10: an app cannot have A checked and send B, nor use what another was given, nor later.
    #[test]
    fn a_receipt_counts_for_its_app_its_content_and_its_time() {
        let signed = receipt().sign(&key(1)).unwrap();
        let end_s = NOW_S + RECEIPT_LIFETIME_S;
        for (app_name, content, now_s, refused) in [
            ("ratchet", b"draft".as_slice(), NOW_S, None),
            ("ratchet", b"draft", end_s - 1, None),
            ("ratchet", b"draft", end_s, Some(ReceiptRefused::Expired)),
            ("ratchet", b"draft", NOW_S - 1, Some(ReceiptRefused::Expired)),
            ("ratchet", b"other", NOW_S, Some(ReceiptRefused::OtherContent)),
            ("other", b"draft", NOW_S, Some(ReceiptRefused::OtherApp)),
        ] {
            assert_eq!(
                outcome(&signed, app_name, content, now_s),
                refused,
                "{app_name} {now_s}"
            );
        }
    }

    /// A10: no byte of a receipt can be changed, and another device's is none.
    #[test]
    fn a_changed_or_foreign_receipt_is_refused() {
        let signed = receipt().sign(&key(1)).unwrap();
        for position in 0..signed.0.len() {
            let mut bytes = signed.0.clone().into_bytes();
            bytes[position] = if bytes[position] == b'A' { b'B' } else { b'A' };
            let changed = SignedReceipt(String::from_utf8(bytes).unwrap());
            assert!(
                outcome(&changed, "ratchet", b"draft", NOW_S).is_some(),
                "byte {position}"
            );
        }
        let foreign = receipt().sign(&key(2)).unwrap();
        assert_eq!(
            outcome(&foreign, "ratchet", b"draft", NOW_S),
            Some(ReceiptRefused::Forged)
        );
        for text in ["", ".", "a.b", "!!.!!"] {
            let junk = SignedReceipt(text.to_owned());
            assert_eq!(
                outcome(&junk, "ratchet", b"draft", NOW_S),
                Some(ReceiptRefused::Forged)
            );
        }
    }

    /// A10: a receipt is used once, also over a restart; what came to nothing did not use it.
    #[tokio::test]
    async fn a_receipt_is_used_once() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path());
        let vault = Vault::open(&paths).await.unwrap();
        let signed = receipt().sign(&key(1)).unwrap();
        let checked = || {
            signed
                .check(&key(1).public_key(), &app("ratchet"), Digest::of(b"draft"), NOW_S)
                .unwrap()
        };
        let mut undone = vault.begin().await.unwrap();
        assert!(checked().spend(&mut undone).await.unwrap().is_ok());
        undone.rollback().await.unwrap();
        let mut done = vault.begin().await.unwrap();
        assert_eq!(checked().spend(&mut done).await.unwrap(), Ok(receipt()));
        done.commit().await.unwrap();
        vault.close().await;

        let vault = Vault::open(&paths).await.unwrap();
        let mut again = vault.begin().await.unwrap();
        assert_eq!(
            checked().spend(&mut again).await.unwrap(),
            Err(ReceiptRefused::Spent)
        );
    }
}
