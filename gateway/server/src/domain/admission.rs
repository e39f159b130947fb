//! A story at the door: every check, then its row, its record and its ciphertext, ready for the relay (K12-K14).
//!
//! ```text
//! parse -> issuer's signature -> audience -> cti unknown -> issuer is the sender -> envelope, time, lifetime
//!       -> bundle, labels -> member, epoch or list -> blobs -> sharing rules (casbin) -> encrypt under the bucket's key
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use gateway_api::bytes::Bytes;
use gateway_api::error::{ErrorCode, Problem};
use gateway_api::receipt::Refusal;
use gateway_api::v1::preflight::Decision;
use gateway_api::v1::rejoin::StateMark;
use policies::clearance::{Claims, UnverifiedClearance, VerifiedClearance};
use policies::terms::{App, AudienceClass, AudienceId, Binding, Cti, Digest, Label, Tier};
use serde_json::json;
use telemetry::{Field, SpanName};

use super::clearance::{self, Target};
use super::device_lists;
use super::fault::Fault;
use super::gateway::{Device, Gateway, not_a_member};
use super::policy::ActiveBundle;
use super::record::{Kind, Record};
use super::rejoin;
use crate::limits;
use crate::relay::{Submission, lists};
use crate::sharing::SharingRequest;
use crate::store::bucket_keys::BucketKey;
use crate::store::objects::{ObjectKey, Part};
use crate::store::stories::{AtDoor, Question, StoredStory, Story, StoryState};

/// A story's refusal on its way to a signed receipt (C5).
struct Refused {
    fault: Fault,
    cti: Option<Cti>,
    rule: Option<String>,
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Self {
            fault,
            cti: None,
            rule: None,
        }
    }
}

impl From<sqlx::Error> for Refused {
    fn from(error: sqlx::Error) -> Self {
        Fault::from(error).into()
    }
}

/// A story as it came.
pub(crate) struct Posted<'a> {
    pub(crate) to: Target,
    pub(crate) envelope: &'a [u8],
    pub(crate) clearance: Option<Vec<u8>>,
    /// How far the sender's MLS state has come (M7); an app that seals by itself has none.
    pub(crate) mark: Option<StateMark>,
}

/// Takes a story in, or refuses it with a signed receipt: the signed acceptance.
pub(crate) async fn submit(
    gateway: &Gateway,
    device: &Device,
    posted: Posted<'_>,
) -> Result<Vec<u8>, Problem> {
    let envelope = Digest::of(posted.envelope);
    match relay(gateway, device, posted).await {
        Ok(acceptance) => Ok(acceptance),
        Err(refused) => Err(refuse(gateway, device, envelope, refused).await),
    }
}

async fn relay(gateway: &Gateway, device: &Device, posted: Posted<'_>) -> Result<Vec<u8>, Refused> {
    let begun = Instant::now();
    let tracing = gateway.exports.tracing();
    let admitted = tracing.within(SpanName::Decide, async {
        let admitted = admit(gateway, device, posted).await;
        telemetry::note(|| decision(gateway, &admitted));
        admitted
    });
    let admitted = admitted.await;
    gateway.metrics.decide(begun.elapsed());
    match admitted? {
        Admitted::Known(acceptance) => Ok(acceptance),
        Admitted::New(submission) => {
            let cti = Some(submission.story.cti);
            let relayed = gateway.relay.submit(*submission).await;
            relayed.map_err(|fault| Refused {
                fault,
                cti,
                rule: None,
            })
        }
    }
}

fn decision(gateway: &Gateway, admitted: &Result<Admitted, Refused>) -> Vec<Field> {
    let version = Field::PolicyVersion(gateway.policy.load().version());
    match admitted {
        Ok(_) => vec![version, Field::Decision("allowed")],
        Err(refused) => vec![
            version,
            Field::Decision("refused"),
            Field::Code(refused.fault.code.as_str()),
        ],
    }
}

/// A story that every check let pass.
enum Admitted {
    New(Box<Submission>),
    /// Accepted before: the original receipt.
    Known(Vec<u8>),
}

async fn admit(gateway: &Gateway, device: &Device, posted: Posted<'_>) -> Result<Admitted, Refused> {
    let Posted {
        to,
        envelope,
        clearance,
        mark,
    } = posted;
    gateway.check_open()?;
    let bytes = clearance.ok_or_else(|| Fault::new(ErrorCode::ClearanceMissing, "the header is missing"))?;
    let verified = verify(gateway, &bytes)?;
    let claims = verified.claims();
    let with_cti = |fault: Fault| Refused {
        fault,
        cti: Some(claims.cti),
        rule: None,
    };
    let envelope_digest = Digest::of(envelope);
    clearance::check_audience(claims, to).map_err(with_cti)?;
    let question = Question {
        cti: claims.cti,
        audience: to.id(),
        device: device.id,
    };
    let door = gateway.door.ask(question).await.map_err(with_cti)?;
    if let Some(known) = &door.known
        && let Some(acceptance) =
            same_or_replay(known, device, envelope_digest, verified.digest()).map_err(with_cti)?
    {
        return Ok(Admitted::Known(acceptance));
    }
    if claims.iss != device.id {
        return Err(with_cti(Fault::new(
            ErrorCode::ClearanceDevice,
            "another device issued this clearance",
        )));
    }
    if let Some(mark) = mark {
        rejoin::check_generation(gateway, device, mark).map_err(with_cti)?;
    }
    let now_s = gateway.clock.now_s();
    clearance::check_envelope(claims, envelope_digest).map_err(with_cti)?;
    clearance::check_time(claims, now_s).map_err(with_cti)?;
    let bundle = bundle(gateway, device, claims, now_s).await.map_err(with_cti)?;
    let width_s = gateway.config.expiry.bucket_s;
    let expires_s =
        clearance::expiry(claims.ttl_s, bundle.plan.lifetime_max_s(), width_s, now_s).map_err(with_cti)?;
    clearance::check_policy(claims, &bundle).map_err(with_cti)?;
    let (audience_class, epoch) = audience(gateway, device, claims, to, door)
        .await
        .map_err(with_cti)?;
    let bucket = gateway
        .bucket_keys
        .key(expires_s)
        .map_err(|error| with_cti(error.into()))?;
    let blobs = rewrap_blobs(gateway, device, claims, &bucket)
        .await
        .map_err(with_cti)?;
    let labels: BTreeSet<Label> = claims.labels.iter().cloned().collect();
    let asked = Asked {
        labels,
        audience_class,
        app: claims.app.clone(),
        tier: claims.tier,
        binding: claims.binding,
    };
    let decision = decide(&bundle, device, asked, now_s).map_err(with_cti)?;
    if !decision.allowed {
        let fault = Fault::new(ErrorCode::SharingDenied, decision.reason);
        return Err(Refused {
            fault,
            cti: Some(claims.cti),
            rule: decision.rule,
        });
    }
    let record = record(
        device,
        claims,
        &verified.digest(),
        &audience_class,
        &decision,
        expires_s,
    )
    .map_err(with_cti)?;
    let story = Story {
        cti: claims.cti,
        device: device.id,
        audience: to.id(),
        epoch,
        state: StoryState::Held,
        envelope_digest,
        clearance_digest: verified.digest(),
        entry: record.entry,
        at_s: now_s,
        expires_s,
        forget_s: expires_s.saturating_add(limits::SPENT_S),
        acceptance: None,
        envelope_bytes: u64::try_from(envelope.len()).unwrap_or(u64::MAX),
    };
    let stored = encrypt(&bucket, claims.cti, envelope, &bytes).map_err(|error| with_cti(error.into()))?;
    Ok(Admitted::New(Box::new(Submission {
        story,
        stored,
        blobs,
        mark,
        record,
        traced: None,
    })))
}

/// Strict parsing and the issuer's signature over the received bytes.
fn verify(gateway: &Gateway, bytes: &[u8]) -> Result<VerifiedClearance, Fault> {
    let unverified = UnverifiedClearance::parse(bytes)
        .map_err(|error| Fault::new(ErrorCode::ClearanceMalformed, error.to_string()))?;
    let issuer = gateway.directory.device(unverified.issuer());
    let issuer = issuer.ok_or_else(|| {
        Fault::new(
            ErrorCode::ClearanceDevice,
            "the issuer is not in the directory log",
        )
    })?;
    unverified
        .verify(&issuer.key)
        .map_err(|error| Fault::new(ErrorCode::ClearanceSignature, error.to_string()))
}

/// The class of the audience, and the epoch or version that it is in, for which the story was sealed.
async fn audience(
    gateway: &Gateway,
    device: &Device,
    claims: &Claims,
    to: Target,
    door: AtDoor,
) -> Result<(AudienceClass, u64), Fault> {
    match to {
        Target::Group(_) => {
            let audience = door
                .audience
                .filter(|_| door.is_member)
                .ok_or_else(not_a_member)?;
            Ok((audience.class, clearance::check_epoch(claims, &audience)?))
        }
        Target::DeviceList(id) => {
            let stored = device_lists::list_of(gateway, device, id).await?;
            let version = clearance::check_list(claims, &stored.list)?;
            lists::check_unrevoked(&gateway.directory, &stored.list)?;
            Ok((stored.class, version))
        }
    }
}

/// Idempotency (K13): the same again gets the original receipt, anything else under a spent id is refused and alarmed.
pub(crate) fn same_or_replay(
    story: &Story,
    device: &Device,
    envelope: Digest,
    clearance: Digest,
) -> Result<Option<Vec<u8>>, Fault> {
    let same =
        story.device == device.id && story.envelope_digest == envelope && story.clearance_digest == clearance;
    if !same {
        return Err(Fault::new(
            ErrorCode::ReplayRefused,
            "this id was used before, for something else",
        ));
    }
    match &story.acceptance {
        Some(acceptance) => Ok(Some(acceptance.clone())),
        None => Err(Fault::new(ErrorCode::Busy, "this story is being recorded")),
    }
}

async fn bundle(
    gateway: &Gateway,
    device: &Device,
    claims: &Claims,
    now_s: u64,
) -> Result<Arc<ActiveBundle>, Fault> {
    let policy = gateway.policy.load();
    // When the device had the bundle in force says only for how long it may still use the one before.
    let acknowledged_s = if claims.policy.version == policy.version() {
        None
    } else {
        gateway.store.policy_ack(device.id, policy.version()).await?
    };
    policy
        .accepted(claims.policy.version, acknowledged_s, now_s)
        .cloned()
        .ok_or_else(|| {
            Fault::new(
                ErrorCode::PolicyNotAccepted,
                format!("version {} is in force", policy.version()),
            )
        })
}

/// Each named blob must be the sender's, here, and free; its key is wrapped anew for the story's bucket.
async fn rewrap_blobs(
    gateway: &Gateway,
    device: &Device,
    claims: &Claims,
    bucket: &BucketKey,
) -> Result<Vec<(Digest, Vec<u8>)>, Fault> {
    if claims.blobs.len() > limits::BLOBS_PER_STORY_MAX {
        return Err(Fault::bad_request(format!(
            "a story names at most {} blobs",
            limits::BLOBS_PER_STORY_MAX
        )));
    }
    let missing = || Fault::new(ErrorCode::BlobMissing, "a blob is not here, or not yours");
    let mut wrapped = Vec::with_capacity(claims.blobs.len());
    for digest in &claims.blobs {
        let blob = gateway
            .store
            .blob(*digest)
            .await?
            .filter(|blob| blob.device == device.id && blob.cti.is_none());
        let blob = blob.ok_or_else(missing)?;
        let staged = gateway
            .bucket_keys
            .existing(blob.expires_s)?
            .ok_or_else(missing)?;
        let key = ObjectKey::unwrap(&staged, &blob.object, &blob.wrapped_key).map_err(|_| missing())?;
        wrapped.push((*digest, key.wrap(bucket, &blob.object)?));
    }
    Ok(wrapped)
}

/// What the sharing rules are asked about a story, beside who shares it and when.
pub(crate) struct Asked {
    pub(crate) labels: BTreeSet<Label>,
    pub(crate) audience_class: AudienceClass,
    pub(crate) app: App,
    pub(crate) tier: Tier,
    pub(crate) binding: Binding,
}

/// What the sharing rules say (K24).
pub(crate) fn decide(
    bundle: &ActiveBundle,
    device: &Device,
    asked: Asked,
    now_s: u64,
) -> Result<Decision, Fault> {
    let minute = minute_of_day(bundle.plan.time_zone(), now_s)?;
    let Asked {
        labels,
        audience_class,
        app,
        tier,
        binding,
    } = asked;
    let request = SharingRequest {
        person: device.person,
        labels,
        audience_class,
        app,
        tier,
        binding,
        minute,
    };
    Ok(bundle.sharing.decide(&request))
}

/// Minutes since midnight in the tenant's zone (K24).
fn minute_of_day(zone: &str, now_s: u64) -> Result<u16, Fault> {
    let local = i64::try_from(now_s)
        .ok()
        .and_then(|now_s| jiff::Timestamp::from_second(now_s).ok())
        .and_then(|now| now.in_tz(zone).ok())
        .ok_or_else(|| Fault::new(ErrorCode::Internal, "the policy's time zone is not known here"))?;
    let minute = i32::from(local.hour()) * 60 + i32::from(local.minute());
    Ok(u16::try_from(minute).unwrap_or(0))
}

fn encrypt(bucket: &BucketKey, cti: Cti, envelope: &[u8], clearance: &[u8]) -> anyhow::Result<StoredStory> {
    let key = ObjectKey::generate()?;
    Ok(StoredStory {
        wrapped_key: key.wrap(bucket, cti.as_bytes())?,
        envelope: key.seal(Part::Envelope, envelope)?,
        clearance: key.seal(Part::Clearance, clearance)?,
    })
}

/// The relay's ledger entry. Labels, verdict and the sealed part stand in it, under the person's key (K27).
fn record(
    device: &Device,
    claims: &Claims,
    clearance: &Digest,
    class: &AudienceClass,
    decision: &Decision,
    expires_s: u64,
) -> Result<Record, Fault> {
    let payload = json!({
        "cti": claims.cti,
        "device": device.id,
        "person": device.person,
        "audience": audience_of(claims),
        "audience_class": class,
        "envelope": claims.env,
        "clearance": clearance,
        "blobs": claims.blobs.len(),
        "verdict": format!("{:?}", claims.verdict),
        "labels": claims.labels,
        "app": claims.app,
        "binding": claims.binding,
        "tier": claims.tier,
        "agent_version": claims.agent_version,
        "policy_version": claims.policy.version,
        "rule": decision.rule,
        "reason": decision.reason,
        "expires_s": expires_s,
        "sealed": Bytes(claims.sealed.clone()),
    });
    Ok(Record::new(
        Kind::Relay,
        Some(device.person),
        claims.policy.version,
        payload,
    )?)
}

fn audience_of(claims: &Claims) -> AudienceId {
    match &claims.audience {
        policies::clearance::AudienceBinding::Mls { group, .. } => *group,
        policies::clearance::AudienceBinding::Devices { id, .. } => *id,
    }
}

/// Signs and records the refusal. A story that was refused for our own trouble gets no receipt: it may come again.
async fn refuse(gateway: &Gateway, device: &Device, envelope: Digest, refused: Refused) -> Problem {
    let Refused { fault, cti, rule } = refused;
    gateway.metrics.refuse(fault.code);
    tracing::info!(device = %device.id, code = fault.code.as_str(), "story refused");
    let mut problem = Problem::new(fault.code, fault.detail.clone());
    // Nor does one from a state that was overtaken: it says nothing about the story.
    if fault.code.status() >= 500 || fault.code == ErrorCode::StateBehind {
        return problem;
    }
    let at_s = gateway.clock.now_s();
    let refusal = Refusal {
        cti,
        device: device.id,
        envelope,
        code: fault.code,
        rule,
        reason: fault.detail,
        at_s,
    };
    let kind = if fault.code == ErrorCode::ReplayRefused {
        Kind::ReplayRefused
    } else {
        Kind::Refusal
    };
    let payload = json!({
        "cti": refusal.cti,
        "device": device.id,
        "person": device.person,
        "envelope": envelope,
        "code": refusal.code,
        "rule": refusal.rule,
        "reason": refusal.reason,
    });
    let recorded = match Record::new(
        kind,
        Some(device.person),
        gateway.policy.load().version(),
        payload,
    ) {
        Ok(record) => gateway.ledger.append(vec![record]).await,
        Err(error) => Err(error),
    };
    if let Err(error) = recorded {
        return gateway.storage_failed(&error);
    }
    problem.receipt = Some(Bytes(refusal.sign(&gateway.keys.acceptance)));
    problem
}
