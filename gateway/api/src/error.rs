//! The one table of errors: code, HTTP status, title, what to do (RFC 9457).

use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;

macro_rules! errors {
    ($($(#[$doc:meta])* $variant:ident => $status:literal, $code:literal, $title:literal, $help:literal;)*) => {
        /// Why a request was not carried out. The name on the wire is stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum ErrorCode {
            $($(#[$doc])* #[serde(rename = $code)] $variant,)*
        }

        impl ErrorCode {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// The HTTP status that goes with it.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }

            /// One line, the same for every occurrence (RFC 9457 `title`).
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }

            /// What to do about it.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)* }
            }
        }
    };
}

errors! {
    BadRequest => 400, "bad-request", "the request cannot be read", "compare it with the API description; nothing was stored";
    BodyTooLarge => 413, "body-too-large", "the body is larger than this route takes", "send less, or attach it as a file";
    BodyTooSlow => 408, "body-too-slow", "the body came too slowly", "send it again over a better connection; nothing was stored";
    RateLimited => 429, "rate-limited", "this device sends more requests than are taken", "try again after the time in Retry-After; an operator sets the limits in `gateway.toml` under `[rates]`";
    NotFound => 404, "not-found", "there is nothing under this name for you", "check the name; it may have expired";
    IdentityMissing => 401, "identity-missing", "no device certificate was presented", "enrol the device: `sealgate-agent enroll --token-file FILE`";
    IdentityInvalid => 401, "identity-invalid", "the device's identity does not hold any more", "enrol the device again with a new token";
    IdentityExpired => 401, "identity-expired", "the device's certificate has ended", "the agent renews it by itself; if it was off for too long, enrol again with a new token";
    DeviceQuarantined => 403, "device-quarantined", "this device is quarantined: its identity was used in two places", "ask the administrator: `sealgate device release` after a look, or `sealgate device revoke`";
    RenewalRefused => 403, "renewal-refused", "this key is not certified", "make a new TLS key for each renewal";
    DeviceRevoked => 403, "device-revoked", "this device has been revoked", "ask the administrator for a new token if that was a mistake";
    TokenInvalid => 403, "token-invalid", "the enrollment token is unknown, used or expired, or for another machine", "ask the administrator for a new one: `sealgate token add`";
    ProofInvalid => 403, "proof-invalid", "the proof of possession does not verify", "the request was altered on its way, or the keys do not belong together";
    LeafInvalid => 403, "leaf-invalid", "a leaf's credential does not verify against the directory log", "only logged devices of listed people are admitted";
    NotAMember => 403, "not-a-member", "the device is not a member of this audience", "ask a member to add you";
    RosterRefused => 403, "roster-refused", "this change of the audience's list is not allowed", "only an owner changes it; anybody may leave";
    EpochMoved => 409, "epoch-moved", "the audience has moved to another epoch", "fetch its log, then seal and clear again";
    RemovalPending => 409, "removal-pending", "a removal must be committed before the next story", "commit the pending removal, then seal again";
    ListRefused => 403, "list-refused", "this device list is not taken", "list logged, unrevoked devices, sign it with the defining device, and let the person who defined it define its next version";
    ListMoved => 409, "list-moved", "the device list has another version in force, or one of its devices was revoked", "fetch the list, define its next version where a device was revoked, then seal and clear again";
    GroupExists => 409, "group-exists", "an audience with this id exists", "draw a new id";
    RejoinRefused => 403, "rejoin-refused", "no logged rejoin of this device lets it back into this audience", "ask for a rejoin first: `sealgate-agent rejoin`; one lets a device in once per audience";
    RejoinTooOften => 429, "rejoin-too-often", "this device has rejoined too often within a day", "wait a day, or ask the administrator for a new token; two agents on copies of one folder do this";
    StateBehind => 409, "state-behind", "the device runs on an older state than it had", "an old copy of the agent's folder was put back: `sealgate-agent rejoin`";
    GroupInfoMissing => 409, "group-info-missing", "the group's public state is not here", "it comes with a member's next commit; until then a member adds the device anew";
    ClearanceMissing => 403, "clearance-missing", "the story came without a clearance", "seal it with the agent; nothing is relayed without one";
    ClearanceMalformed => 400, "clearance-malformed", "the clearance cannot be read", "the agent and the gateway may differ in version";
    ClearanceSignature => 403, "clearance-signature", "the clearance's signature does not verify", "it was altered, or signed by another device";
    ClearanceDevice => 403, "clearance-device", "the clearance was issued by another device", "each device clears its own stories";
    ClearanceEnvelope => 403, "clearance-envelope", "the clearance is for another envelope", "clear the very envelope that you send";
    ClearanceAudience => 403, "clearance-audience", "the clearance is for another audience", "seal and clear for the audience that you post to";
    ClearanceExpired => 403, "clearance-expired", "the clearance has expired, or its clock is off", "check the device's clock, then seal again";
    ClearanceTtl => 403, "clearance-ttl", "the lifetime is too long or too short", "use a lifetime within the policy and of at least two bucket widths";
    PolicyNotAccepted => 403, "policy-not-accepted", "the story was cleared under a policy that is not in force", "let the agent fetch the current policy, then share again";
    LabelUnknown => 403, "label-unknown", "a label is not one of the tenant's", "use a label that the policy lists";
    BlobMissing => 409, "blob-missing", "a blob that the clearance names has not arrived", "upload it, then send the story again";
    BlobMismatch => 422, "blob-mismatch", "the blob does not have the hash that it is named by", "upload it again";
    ReplayRefused => 409, "replay-refused", "this clearance was used before, for something else", "seal again; the incident has been recorded";
    SharingDenied => 403, "sharing-denied", "a sharing rule of your company refuses this story", "the rule is named; ask its owner, or choose another audience or label";
    NotEnrolled => 403, "not-enrolled", "nobody of this id is enrolled", "enrol the person first: `sealgate person add`";
    BundleRefused => 422, "bundle-refused", "the bundle is refused", "the detail says which check failed and how to mend it";
    Busy => 503, "busy", "the gateway has too much to do", "try again after the time in Retry-After";
    ClockUnsettled => 503, "clock-unsettled", "the gateway's clock has jumped; nothing is accepted or shredded until it is settled", "an operator confirms the time: see the status page";
    StorageFailed => 503, "storage-failed", "the gateway could not make this durable; nothing was accepted", "try again later; the operator sees the cause on the status page";
    RestoreUnconfirmed => 503, "restore-unconfirmed", "the gateway was restored from a backup, which is not confirmed yet; nothing was accepted", "an operator confirms it, or brings back what is missing: see the status page";
    Internal => 500, "internal", "the gateway failed", "nothing was accepted; the operator sees the cause in the log";
}

/// An RFC 9457 problem document, `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Where the code is described.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code's one line.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// This occurrence, in words. Never content, names or addresses.
    pub detail: String,
    /// The code.
    pub code: ErrorCode,
    /// What to do.
    pub help: String,
    /// A signed refusal (`receipt::Refusal`, COSE_Sign1), where a story was refused (C5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Bytes>,
}

impl Problem {
    /// The problem for `code`, with this occurrence's detail.
    #[must_use]
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("https://sealgate.example/errors/{}", code.as_str()),
            title: code.title().to_owned(),
            status: code.status(),
            detail: detail.into(),
            code,
            help: code.help().to_owned(),
            receipt: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_unique_and_round_trip() {
        let names: BTreeSet<&str> = ErrorCode::ALL.iter().map(|c| c.as_str()).collect();
        assert_eq!(names.len(), ErrorCode::ALL.len());
        for code in ErrorCode::ALL {
            let text = serde_json::to_string(code).unwrap();
            assert_eq!(text, format!("\"{}\"", code.as_str()));
            assert_eq!(serde_json::from_str::<ErrorCode>(&text).unwrap(), *code);
        }
    }

    #[test]
    fn every_code_says_what_to_do() {
        for code in ErrorCode::ALL {
            assert!(
                !code.help().is_empty() && !code.title().ends_with('.'),
                "{code:?}"
            );
            assert!((400..600).contains(&code.status()), "{code:?}");
        }
    }
}
