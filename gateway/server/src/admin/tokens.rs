//! Enrollment tokens (E1) and the enrollment file, which pins everything that an agent trusts (K6).

use gateway_api::bytes::Bytes;
use gateway_api::enrollment::EnrollmentFile;
use gateway_api::error::ErrorCode;
use policies::terms::{AudienceClass, Digest};
use serde_json::json;

use super::{Reply, lines, people};
use crate::domain::fault::Fault;
use crate::domain::gateway::Gateway;
use crate::domain::random;
use crate::domain::record::Kind;
use crate::limits;
use crate::store::tokens::Token;

pub(super) async fn add(
    gateway: &Gateway,
    person: &str,
    class: AudienceClass,
    lifetime_s: u64,
) -> Result<Reply, Fault> {
    if lifetime_s == 0 || lifetime_s > limits::TOKEN_LIFETIME_S_MAX {
        return Err(Fault::bad_request("a token lives for at most 72 h"));
    }
    gateway.check_open()?;
    let person = people::find(gateway, person).await?;
    let now_s = gateway.clock.now_s();
    let expires_s = now_s.saturating_add(lifetime_s);
    let secret = random::bytes::<32>()?;
    let id = random::bytes::<16>()?;
    let payload = json!({
        "token": hex::encode(id), "person": person.id, "class": class, "expires_s": expires_s, "made": true,
    });
    gateway.record(Kind::Token, Some(person.id), payload).await?;
    let token = Token {
        id,
        hash: Digest::of(&secret),
        person: person.id,
        class,
        expires_s,
        used_s: None,
        revoked_s: None,
    };
    gateway.store.add_token(&token, now_s).await?;
    let file = toml::to_string(&enrollment_file(gateway, &secret, expires_s)).map_err(anyhow::Error::from)?;
    let json = json!({ "token": hex::encode(id), "expires_s": expires_s, "file": file });
    Ok(Reply::new(
        json,
        format!("token {} lives until {expires_s} (Unix seconds)", hex::encode(id)),
    ))
}

fn enrollment_file(gateway: &Gateway, secret: &[u8], expires_s: u64) -> EnrollmentFile {
    let public = |key: &ed25519_dalek::SigningKey| Bytes(key.verifying_key().to_bytes().to_vec());
    EnrollmentFile {
        token: Bytes(secret.to_vec()),
        expires_s,
        gateway_url: gateway.public_url(),
        tenant: gateway.config.tenant.clone(),
        ca_pem: gateway.keys.authority.certificate_pem().to_owned(),
        directory_log_key: gateway.directory.vkey().to_owned(),
        ledger_log_key: gateway.ledger.vkey().to_owned(),
        acceptance_key: public(&gateway.keys.acceptance),
        external_sender_key: public(&gateway.keys.external_sender),
        timestamp_key: public(&gateway.keys.timestamp),
        author_keys: gateway.config.trust.author_keys.clone(),
        approver_keys: gateway.config.trust.approver_keys.clone(),
        compliance_key: gateway.config.trust.compliance_key.clone(),
    }
}

pub(super) async fn list(gateway: &Gateway) -> Result<Reply, Fault> {
    let now_s = gateway.clock.now_s();
    let tokens = gateway.store.tokens().await?;
    let json = tokens.iter().map(|token| {
        json!({
            "token": hex::encode(token.id), "person": token.person, "class": token.class,
            "expires_s": token.expires_s, "state": state(token, now_s),
        })
    });
    let text = tokens.iter().map(|token| {
        format!(
            "{}  {}  {}",
            hex::encode(token.id),
            token.person,
            state(token, now_s)
        )
    });
    let text = lines(text.collect(), "there are no tokens");
    Ok(Reply::new(json!({ "tokens": json.collect::<Vec<_>>() }), text))
}

fn state(token: &Token, now_s: u64) -> &'static str {
    match (token.used_s, token.revoked_s) {
        (Some(_), _) => "used",
        (None, Some(_)) => "revoked",
        (None, None) if token.expires_s <= now_s => "expired",
        (None, None) => "live",
    }
}

pub(super) async fn revoke(gateway: &Gateway, id: &str) -> Result<Reply, Fault> {
    let id: [u8; 16] = hex::decode(id)
        .ok()
        .and_then(|id| id.try_into().ok())
        .ok_or_else(|| Fault::bad_request("a token's id has 32 hex digits"))?;
    gateway
        .record(
            Kind::Token,
            None,
            json!({ "token": hex::encode(id), "revoked": true }),
        )
        .await?;
    if !gateway.store.revoke_token(&id, gateway.clock.now_s()).await? {
        return Err(Fault::new(
            ErrorCode::NotFound,
            "there is no live token of this id",
        ));
    }
    Ok(Reply::new(
        json!({ "token": hex::encode(id) }),
        format!("revoked token {}", hex::encode(id)),
    ))
}
