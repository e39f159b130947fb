//! Checks of a clearance that need nothing but the clearance and its context, one code each, in a fixed order.

use gateway_api::error::ErrorCode;
use policies::clearance::{AudienceBinding, Claims};
use policies::device_list::DeviceList;
use policies::terms::{AudienceId, Digest};

use super::fault::Fault;
use super::policy::ActiveBundle;
use crate::limits;
use crate::relay::lists;
use crate::store::audiences::Audience;
use crate::store::bucket_keys;

/// Where a story is posted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Group(AudienceId),
    DeviceList(AudienceId),
}

impl Target {
    pub(crate) const fn id(self) -> AudienceId {
        match self {
            Self::Group(id) | Self::DeviceList(id) => id,
        }
    }
}

/// The clearance is for the audience that the story is posted to, and of its kind.
pub(crate) fn check_audience(claims: &Claims, to: Target) -> Result<(), Fault> {
    let detail = match (&claims.audience, to) {
        (AudienceBinding::Mls { group, .. }, Target::Group(id)) if *group == id => return Ok(()),
        (AudienceBinding::Devices { id: list, .. }, Target::DeviceList(id)) if *list == id => return Ok(()),
        (AudienceBinding::Mls { .. }, Target::Group(_)) => "the clearance names another group",
        (AudienceBinding::Devices { .. }, Target::DeviceList(_)) => "the clearance names another list",
        (AudienceBinding::Devices { .. }, Target::Group(_)) => "the clearance is for a list of devices",
        (AudienceBinding::Mls { .. }, Target::DeviceList(_)) => "the clearance is for a group",
    };
    Err(Fault::new(ErrorCode::ClearanceAudience, detail))
}

/// The clearance is for this envelope.
pub(crate) fn check_envelope(claims: &Claims, envelope: Digest) -> Result<(), Fault> {
    if claims.env == envelope {
        Ok(())
    } else {
        Err(Fault::new(
            ErrorCode::ClearanceEnvelope,
            "the clearance names another envelope",
        ))
    }
}

/// Gateway time rules (C4).
pub(crate) fn check_time(claims: &Claims, now_s: u64) -> Result<(), Fault> {
    let refused = |detail: &str| Err(Fault::new(ErrorCode::ClearanceExpired, detail));
    if claims.iat_s > now_s.saturating_add(limits::SKEW_S_MAX) {
        return refused("the clearance is from the future");
    }
    if claims.exp_s <= now_s {
        return refused("the clearance has expired");
    }
    if claims.exp_s.saturating_sub(claims.iat_s) > limits::CLEARANCE_LIFE_S_MAX {
        return refused("the clearance may be submitted for too long");
    }
    Ok(())
}

/// When the story is gone: its bucket's floor. A lifetime under two widths is refused (K14, K18).
pub(crate) fn expiry(ttl_s: u32, lifetime_max_s: u64, width_s: u64, now_s: u64) -> Result<u64, Fault> {
    let ttl_s = u64::from(ttl_s);
    let longest_s = lifetime_max_s.min(limits::STORY_LIFETIME_S_MAX);
    if ttl_s > longest_s {
        return Err(Fault::new(
            ErrorCode::ClearanceTtl,
            format!("the policy allows at most {longest_s} s"),
        ));
    }
    let shortest_s = width_s.saturating_mul(2);
    if ttl_s < shortest_s {
        return Err(Fault::new(
            ErrorCode::ClearanceTtl,
            format!("this gateway needs at least {shortest_s} s"),
        ));
    }
    Ok(bucket_keys::floor(now_s.saturating_add(ttl_s), width_s))
}

/// Cleared under exactly this bundle, with labels of its tenant.
pub(crate) fn check_policy(claims: &Claims, bundle: &ActiveBundle) -> Result<(), Fault> {
    if claims.policy.digest != bundle.digest || claims.policy.log_index != bundle.log_index {
        return Err(Fault::new(
            ErrorCode::PolicyNotAccepted,
            "the clearance names a bundle that is not in the log",
        ));
    }
    match claims
        .labels
        .iter()
        .find(|label| !bundle.plan.labels().contains(label))
    {
        Some(_) => Err(Fault::new(
            ErrorCode::LabelUnknown,
            "the policy has no such label",
        )),
        None => Ok(()),
    }
}

/// Sealed for the group as it is (M3).
pub(crate) fn check_epoch(claims: &Claims, audience: &Audience) -> Result<u64, Fault> {
    let AudienceBinding::Mls { epoch, tree_hash, .. } = &claims.audience else {
        return Err(Fault::new(
            ErrorCode::ClearanceAudience,
            "the clearance is for a list of devices",
        ));
    };
    if *epoch != audience.epoch {
        return Err(Fault::new(
            ErrorCode::EpochMoved,
            format!("the group is in epoch {}", audience.epoch),
        ));
    }
    if *tree_hash != audience.tree_hash {
        return Err(Fault::new(
            ErrorCode::ClearanceAudience,
            "the clearance names other members",
        ));
    }
    if audience.removal_pending {
        return Err(Fault::new(
            ErrorCode::RemovalPending,
            "a device of this group has been revoked",
        ));
    }
    Ok(*epoch)
}

/// Sealed for the list as it is (K17): its version.
pub(crate) fn check_list(claims: &Claims, list: &DeviceList) -> Result<u64, Fault> {
    let AudienceBinding::Devices { version, hash, .. } = &claims.audience else {
        return Err(Fault::new(
            ErrorCode::ClearanceAudience,
            "the clearance is for a group",
        ));
    };
    if *version != list.version() {
        return Err(lists::moved(list.version()));
    }
    if *hash != list.hash() {
        return Err(Fault::new(
            ErrorCode::ClearanceAudience,
            "the clearance names other devices",
        ));
    }
    if !claims.blobs.is_empty() {
        return Err(Fault::bad_request("a story for a device list names no blobs"));
    }
    Ok(*version)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// K14, K18: expiry rounds down, and two widths are the least.
    #[test]
    fn lifetime_ends_at_the_bucket_floor() {
        let check = |ttl_s, width_s, now_s| expiry(ttl_s, 86_400, width_s, now_s).map_err(|fault| fault.code);
        assert_eq!(check(7_200, 3_600, 10_000), Ok(14_400));
        assert_eq!(check(7_199, 3_600, 10_000), Err(ErrorCode::ClearanceTtl));
        assert_eq!(check(5, 1, 10_000), Ok(10_005));
        assert_eq!(check(86_401, 3_600, 10_000), Err(ErrorCode::ClearanceTtl));
    }
}
