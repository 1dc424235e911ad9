//! JSON Web Tokens (RFC 7519) of one issuer, verified as RFC 8725 asks: with the algorithms that the config fixes, never
//! those that a token would like, and with keys that are here already. Nothing a token says is fetched, opened or run.
//!
//! No library: what is needed of the format is short, and each shortcut it offers is one that must not be taken. The
//! signatures themselves are ring's.

mod claims;
mod follow;
mod keyset;
mod settings;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quick_cache::sync::Cache;
use serde::de::{Deserialize, Deserializer, IgnoredAny};
use sha2::{Digest as _, Sha256};

pub(super) use self::follow::count;
pub use self::keyset::Algorithm;
use self::keyset::KeySet;
pub use self::settings::JwtSettings;
use super::Identity;

/// The longest token that is looked at.
const TOKEN_BYTES_MAX: usize = 8 << 10;
/// Tokens that are not verified again while they and the keys hold.
const VERIFIED_MAX: usize = 10_000;

/// Those who come with a token.
#[derive(Debug)]
pub(super) struct Tokens {
    settings: JwtSettings,
    in_force: ArcSwap<InForce>,
    /// Whether a token named a key that is not there: the issuer may have a new one.
    missed: AtomicBool,
}

/// The issuer's keys, and what was verified with them: new keys, nothing verified.
#[derive(Debug)]
struct InForce {
    keys: KeySet,
    verified: Cache<[u8; 32], Arc<Verified>>,
}

/// What a token says, once it is believed.
#[derive(Debug)]
struct Verified {
    identity: Arc<Identity>,
    /// Seconds since 1970, leeway included.
    until_s: f64,
}

/// The protected header, as far as it is anything to us. Keys and addresses of keys in it are never looked at.
#[derive(serde::Deserialize)]
struct Header {
    /// One that the config allows, or the token is none.
    alg: Algorithm,
    kid: Option<String>,
    typ: Option<String>,
    /// Extensions that must be understood (RFC 7515 §4.1.11): there are none that we do.
    #[serde(default, deserialize_with = "present")]
    crit: bool,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

impl InForce {
    fn new(keys: KeySet) -> Self {
        InForce { keys, verified: Cache::new(VERIFIED_MAX) }
    }
}

impl Tokens {
    /// Tokens as the settings say; none is believed before there are keys.
    fn new(settings: JwtSettings) -> Self {
        let in_force = ArcSwap::from_pointee(InForce::new(KeySet::default()));
        Tokens { settings, in_force, missed: AtomicBool::new(false) }
    }

    /// Whose token this is. Waits for nobody.
    pub(super) fn holder(&self, token: &[u8], now_s: i64) -> Option<Arc<Identity>> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "exact for the next 285 million years")]
        let now_s = now_s as f64;
        let in_force = self.in_force.load();
        let digest: [u8; 32] = Sha256::digest(token).into();
        let verified = match in_force.verified.get(&digest) {
            Some(verified) => verified,
            None => {
                let verified = Arc::new(self.verify(&in_force.keys, token, now_s)?);
                in_force.verified.insert(digest, Arc::clone(&verified));
                verified
            }
        };
        (now_s < verified.until_s).then(|| Arc::clone(&verified.identity))
    }

    fn verify(&self, keys: &KeySet, token: &[u8], now_s: f64) -> Option<Verified> {
        let token = std::str::from_utf8(token).ok()?;
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        let header: Header = serde_json::from_slice(&decoded(header)?).ok()?;
        let is_ours = |typ: &str| {
            ["jwt", "at+jwt", "application/at+jwt"].iter().any(|known| typ.eq_ignore_ascii_case(known))
        };
        if header.crit
            || !self.settings.algorithms.contains(&header.alg)
            || !header.typ.as_deref().is_none_or(is_ours)
        {
            return None;
        }
        let signature = decoded(signature)?;
        let mut candidates = keys.candidates(header.kid.as_deref(), header.alg).peekable();
        if candidates.peek().is_none() {
            // The issuer may have a new one; whether it is asked is decided off this path.
            self.missed.store(true, Ordering::Relaxed);
            return None;
        }
        if !candidates.any(|key| key.verifies(header.alg, signed.as_bytes(), &signature)) {
            return None;
        }
        claims::verified(&self.settings, &decoded(payload)?, now_s)
    }

    /// Puts these keys in force.
    fn put(&self, keys: KeySet) {
        self.in_force.store(Arc::new(InForce::new(keys)));
    }
}

/// base64url without padding (RFC 7515 §2): the alphabet keeps further dots out.
fn decoded(part: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(part).ok()
}
