//! What a token says of its holder, and whether it is for us, and now. Its signature is verified before.

use std::sync::Arc;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::super::{Role, Tenant};
use super::{Identity, JwtSettings, Verified};

const NAME_BYTES_MAX: usize = 256;

/// The registered claims (RFC 7519 §4.1). A time that is no number is no time: a library that passed over it took a
/// token before its day (CVE-2026-25537).
#[derive(Deserialize)]
struct Registered {
    iss: String,
    aud: Audience,
    exp: f64,
    #[serde(default, deserialize_with = "number")]
    nbf: Option<f64>,
    #[serde(default)]
    sub: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

/// Present and a number, or absent; `null` is neither.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    f64::deserialize(deserializer).map(Some)
}

/// The holder, if the token is the issuer's, for one of our audiences, and holds now.
pub(super) fn verified(settings: &JwtSettings, payload: &[u8], now_s: f64) -> Option<Verified> {
    let registered: Registered = serde_json::from_slice(payload).ok()?;
    let leeway_s = f64::from(settings.leeway_s);
    let until_s = registered.exp + leeway_s;
    let ours = |audience: &String| settings.audiences.contains(audience);
    let for_us = match &registered.aud {
        Audience::One(audience) => ours(audience),
        Audience::Many(audiences) => audiences.iter().any(ours),
    };
    let begun = registered.nbf.is_none_or(|nbf| nbf <= now_s + leeway_s);
    if registered.iss != settings.issuer || !for_us || !begun || now_s >= until_s {
        return None;
    }
    let claims: Value = serde_json::from_slice(payload).ok()?;
    let tenant = match &settings.tenant_claim {
        None => Tenant::default(),
        Some(claim) => Tenant::new(find(&claims, claim)?.as_str()?),
    };
    let roles = find(&claims, &settings.role_claim).map(roles).unwrap_or_default();
    let subject = registered.sub.filter(|sub| sub.len() <= NAME_BYTES_MAX && !sub.contains(char::is_control));
    let name = subject.as_deref().unwrap_or("a token without a subject");
    Some(Verified { identity: Arc::new(Identity::new(name, tenant, &roles, None)), until_s })
}

/// A claim by its name, or by a JSON pointer to it.
fn find<'v>(claims: &'v Value, claim: &str) -> Option<&'v Value> {
    if claim.starts_with('/') { claims.pointer(claim) } else { claims.get(claim) }
}

/// A list, or words with spaces between them as in `scope` (RFC 8693 §4.2). What is no role of ours is another's.
fn roles(value: &Value) -> Vec<Role> {
    let role = |word: &str| {
        Role::deserialize(serde::de::value::StrDeserializer::<serde::de::value::Error>::new(word)).ok()
    };
    match value {
        Value::String(words) => words.split(' ').filter_map(role).collect(),
        Value::Array(words) => words.iter().filter_map(Value::as_str).filter_map(role).collect(),
        _ => Vec::new(),
    }
}
