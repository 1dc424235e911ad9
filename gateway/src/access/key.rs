//! API keys: `weir_<id>_<secret>`. What is kept of a key is the SHA-256 of its secret.
//!
//! A fast hash is right here: a secret is 256 bits from the system's generator, so there is nothing to guess that a
//! slow hash would protect, and each request pays for it. Passwords would be another matter; there are none.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use ring::rand::{SecureRandom as _, SystemRandom};
use schemars::JsonSchema;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::text::{hex, unhex};
use super::{Identity, Role, Tenant, file};

const PREFIX: &str = "weir_";
/// Random bytes of a secret; it is written in hex.
const SECRET_BYTES: usize = 32;
const ID_BYTES_MAX: usize = 63;
/// A file of so many bytes holds some ten thousand keys.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// The text of a file of keys.
pub(super) fn read(path: &Path) -> Result<String, String> {
    file::read(path, FILE_BYTES_MAX)
}

/// One key, as the config or the file of keys has it.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeySettings {
    /// The part of the key between `weir_` and its secret.
    pub id: String,
    /// SHA-256 of the secret, in hex, as `weir keys new` prints it.
    pub sha256: String,
    /// Whose it is.
    #[serde(default)]
    pub tenant: Tenant,
    /// What it may be used for: `write`, `read`, `admin`, `metrics`.
    pub roles: Vec<Role>,
    /// The tenant's routes it is for, by name; absent: all of them.
    #[serde(default)]
    pub routes: Option<Vec<String>>,
    /// When it ends (RFC 3339), e.g. `2027-01-31T00:00:00Z`; absent: never.
    #[serde(default)]
    pub expires: Option<String>,
}

/// A key that was just made. Shown once, kept nowhere.
pub struct Minted {
    /// What the client sends.
    pub key: String,
    /// What the config keeps.
    pub sha256: String,
}

/// Makes a key.
pub fn mint(id: &str) -> Result<Minted, String> {
    if !is_id(id) {
        return Err(format!("`{}` cannot be a key's id: {ID_RULE}", id.escape_default()));
    }
    let mut random = [0; SECRET_BYTES];
    SystemRandom::new().fill(&mut random).map_err(|_| "the system's random generator fails".to_owned())?;
    let secret = hex(&random);
    Ok(Minted { sha256: hex(&digest(secret.as_bytes())), key: format!("{PREFIX}{id}_{secret}") })
}

/// Keys by id.
#[derive(Debug)]
pub(super) struct Keys {
    by_id: HashMap<Box<str>, Key>,
    /// Stands in for a key that is not there, so that it is not told from a wrong secret by the work it takes.
    decoy: Key,
}

#[derive(Debug)]
struct Key {
    digest: [u8; 32],
    /// Seconds since 1970.
    expires_s: i64,
    identity: Arc<Identity>,
}

impl Keys {
    /// Those of the config and those of a file. Errors with what is wrong, without a word of any secret.
    pub(super) fn read(configured: &[KeySettings], file: Option<&Path>) -> Result<Self, String> {
        let Some(path) = file else { return Keys::new(configured, "") };
        let text = read(path)?;
        Keys::new(configured, &text).map_err(|why| format!("{}: {why}", path.display()))
    }

    /// The same with the file's text.
    pub(super) fn new(configured: &[KeySettings], text: &str) -> Result<Self, String> {
        let filed: Vec<KeySettings> = match text.trim().is_empty() {
            true => Vec::new(),
            false => serde_saphyr::from_str(text).map_err(|error| why(&error))?,
        };
        let decoy = Identity::new("nobody", Tenant::default(), &[], None);
        let decoy = Key { digest: [0; 32], expires_s: i64::MIN, identity: Arc::new(decoy) };
        let mut by_id = HashMap::with_capacity(configured.len() + filed.len());
        for settings in configured.iter().chain(&filed) {
            let key = key(settings)?;
            if by_id.insert(Box::from(settings.id.as_str()), key).is_some() {
                return Err(format!("the id `{}` is there twice", settings.id));
            }
        }
        Ok(Keys { by_id, decoy })
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.by_id.len()
    }

    /// Whose key this is. Takes one look-up, one hash and one comparison whatever it is given.
    pub(super) fn holder(&self, credential: &[u8], now_s: i64) -> Option<&Arc<Identity>> {
        let (id, secret) = parts(credential).unwrap_or(("", &[b'0'; 2 * SECRET_BYTES]));
        let known = self.by_id.get(id);
        let key = known.unwrap_or(&self.decoy);
        let same: bool = key.digest.ct_eq(&digest(secret)).into();
        (same && known.is_some() && now_s < key.expires_s).then_some(&key.identity)
    }
}

/// The id and the secret of a key.
fn parts(credential: &[u8]) -> Option<(&str, &[u8])> {
    let rest = credential.strip_prefix(PREFIX.as_bytes())?;
    let (id, secret) = rest.split_at_checked(rest.len().checked_sub(2 * SECRET_BYTES)?)?;
    Some((std::str::from_utf8(id.strip_suffix(b"_")?).ok()?, secret))
}

fn key(settings: &KeySettings) -> Result<Key, String> {
    let KeySettings { id, sha256, tenant, roles, routes, expires } = settings;
    if !is_id(id) {
        return Err(format!("`{}` cannot be a key's id: {ID_RULE}", id.escape_default()));
    }
    let digest = unhex(sha256).ok_or_else(|| {
        format!("the key `{id}`: `sha256` is 64 hex digits, as `weir keys new` prints them; never the secret itself")
    })?;
    if roles.is_empty() {
        return Err(format!("the key `{id}` has no role: it could do nothing"));
    }
    let expires_s = match expires {
        None => i64::MAX,
        Some(time) => time
            .parse::<Timestamp>()
            .map_err(|_| format!("the key `{id}`: `expires` is a time such as 2027-01-31T00:00:00Z"))?
            .as_second(),
    };
    let identity = Arc::new(Identity::new(id, tenant.clone(), roles, routes.as_deref()));
    Ok(Key { digest, expires_s, identity })
}

/// Where and why a text is no list of keys. The parser's own words may repeat what stands there.
fn why(error: &serde_saphyr::Error) -> String {
    let place = error.location().map(|place| format!(" (line {}, column {})", place.line(), place.column()));
    format!("not a list of keys{}", place.unwrap_or_default())
}

fn is_id(id: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    !id.is_empty() && id.len() <= ID_BYTES_MAX && id.bytes().all(legal)
}

const ID_RULE: &str = "lower-case letters, digits, `.`, `_` and `-`, at most 63";

fn digest(secret: &[u8]) -> [u8; 32] {
    Sha256::digest(secret).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(minted: &Minted, expires: Option<&str>) -> KeySettings {
        let id = minted.key.rsplit_once('_').expect("a secret").0.trim_start_matches("weir_").to_owned();
        let expires = expires.map(str::to_owned);
        let (tenant, roles) = (Tenant::default(), vec![Role::Write]);
        KeySettings { id, sha256: minted.sha256.clone(), tenant, roles, routes: None, expires }
    }

    fn names(keys: &Keys, credential: &str) -> Option<String> {
        keys.holder(credential.as_bytes(), 1_000).map(|identity| identity.name().to_owned())
    }

    #[test]
    fn a_key_that_was_made_is_known_and_nothing_like_it() {
        let minted = mint("shop_1.a-b").expect("random");
        let other = mint("shop-2").expect("random");
        assert_ne!(minted.key.rsplit('_').next(), other.key.rsplit('_').next());
        let keys = Keys::new(&[settings(&minted, None), settings(&other, None)], "").expect("two keys");
        assert_eq!((keys.count(), names(&keys, &minted.key)), (2, Some("shop_1.a-b".to_owned())));
        let secret = minted.key.rsplit('_').next().expect("a secret");
        let wrong = [
            format!("{}0", minted.key),
            minted.key.strip_suffix(|_: char| true).expect("text").to_owned(),
            minted.key.replace("weir_", "WEIR_"),
            format!("weir_shop-2_{secret}"),
            format!("weir_nobody_{secret}"),
            format!("weir__{secret}"),
            format!("weir_{secret}"),
            secret.to_owned(),
            format!("weir_shop_1.a-b_{}", minted.sha256),
            format!("weir_nobody_{}", "0".repeat(64)),
            "weir_".to_owned(),
            String::new(),
            "ü".repeat(100),
        ];
        for credential in wrong {
            assert_eq!(names(&keys, &credential), None, "{credential}");
        }
    }

    #[test]
    fn a_key_ends_when_it_says() {
        let minted = mint("k").expect("random");
        let holds = |expires: &str| {
            let keys = Keys::new(&[settings(&minted, Some(expires))], "").expect("a key");
            names(&keys, &minted.key).is_some()
        };
        assert!(holds("1970-01-01T00:16:41Z") && !holds("1970-01-01T00:16:40Z"));
    }

    #[test]
    fn a_file_of_keys_is_yaml_or_json_and_says_what_is_wrong_without_repeating_it() {
        let minted = mint("k").expect("random");
        let yaml = format!("- {{id: k, sha256: {}, roles: [read]}}\n", minted.sha256);
        let json = format!(r#"[{{"id": "k", "sha256": "{}", "roles": ["read"]}}]"#, minted.sha256);
        for text in [&yaml, &json] {
            assert!(names(&Keys::new(&[], text).expect("a key"), &minted.key).is_some());
        }
        assert_eq!(Keys::new(&[], " \n").expect("no key").count(), 0);
        let twice = format!("{yaml}{yaml}");
        let secret = minted.key.rsplit('_').next().expect("a secret");
        let most = secret.get(1..).expect("text");
        let bad = [
            (yaml.replace(&minted.sha256, most), "`sha256` is 64 hex digits"),
            (yaml.replace("[read]", "[]"), "no role"),
            (yaml.replace("[read]", "[reed]"), "not a list of keys (line 1"),
            (yaml.replace("roles", "rolls"), "not a list of keys"),
            (yaml.replace("id: k", "id: K"), "cannot be a key's id"),
            (twice, "`k` is there twice"),
            (yaml.replace("roles", "expires: soon, roles"), "`expires` is a time"),
            (format!("- {secret}\n"), "not a list of keys"),
        ];
        for (text, said) in bad {
            let why = Keys::new(&[], &text).map(|keys| keys.count()).expect_err(&text);
            assert!(why.contains(said) && !why.contains(most), "{why}");
        }
    }
}
