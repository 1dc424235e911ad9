//! The issuer's public keys (RFC 7517), and signatures under them. Only keys that a config can ask for are kept: no
//! secret ones, no encryption keys, none of another kind than their algorithm.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm};
use schemars::JsonSchema;
use serde::Deserialize;

/// More keys than this no issuer has.
const KEYS_MAX: usize = 100;

/// A way to sign with a private key. There are no others to name: neither `none` nor those of a shared secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[allow(clippy::upper_case_acronyms, reason = "the names of RFC 7518 and RFC 8037")]
pub enum Algorithm {
    /// RSA PKCS #1 1.5 with SHA-256.
    RS256,
    /// RSA PKCS #1 1.5 with SHA-384.
    RS384,
    /// RSA PKCS #1 1.5 with SHA-512.
    RS512,
    /// RSA PSS with SHA-256.
    PS256,
    /// RSA PSS with SHA-384.
    PS384,
    /// RSA PSS with SHA-512.
    PS512,
    /// ECDSA over P-256 with SHA-256.
    ES256,
    /// ECDSA over P-384 with SHA-384.
    ES384,
    /// Ed25519.
    EdDSA,
}

/// A set of keys.
#[derive(Debug, Default, PartialEq)]
pub(super) struct KeySet(Vec<PublicKey>);

/// One key.
#[derive(Debug, PartialEq)]
pub(super) struct PublicKey {
    id: Option<String>,
    /// The one algorithm it is for, if it says so.
    alg: Option<String>,
    material: Material,
}

#[derive(Debug, PartialEq)]
enum Material {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// Uncompressed points (SEC 1 §2.3.3).
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// The keys of a JWK Set that can be of use; others are passed over (RFC 7517 §5). An error if there are none.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let document: Document = serde_json::from_str(text).map_err(|_| "not a JWK Set")?;
        if document.keys.len() > KEYS_MAX {
            return Err("more than 100 keys");
        }
        let usable = |key| PublicKey::of(serde_json::from_value(key).ok()?);
        let keys: Vec<_> = document.keys.into_iter().filter_map(usable).collect();
        if keys.is_empty() { Err("no key in it verifies signatures") } else { Ok(KeySet(keys)) }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// The keys that may have signed a token: those of this id. A token that names none is taken only if there is no
    /// choice.
    pub(super) fn candidates<'s>(
        &'s self,
        id: Option<&'s str>,
        alg: Algorithm,
    ) -> impl Iterator<Item = &'s PublicKey> {
        let fitting = move || self.0.iter().filter(move |key| key.fits(alg));
        let unambiguous = id.is_some() || fitting().count() == 1;
        fitting().filter(move |key| unambiguous && (id.is_none() || key.id.as_deref() == id))
    }
}

impl PublicKey {
    fn of(jwk: Jwk) -> Option<Self> {
        let bytes = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_ref()?).ok();
        let point = |size: usize| {
            let (x, y) = (bytes(&jwk.x)?, bytes(&jwk.y)?);
            (x.len() == size && y.len() == size).then(|| [&[4], &x[..], &y[..]].concat())
        };
        let material = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", None) => Material::Rsa { n: number(bytes(&jwk.n)?), e: number(bytes(&jwk.e)?) },
            ("EC", Some("P-256")) => Material::P256(point(32)?),
            ("EC", Some("P-384")) => Material::P384(point(48)?),
            ("OKP", Some("Ed25519")) => Material::Ed25519(bytes(&jwk.x)?),
            _ => return None,
        };
        let signs = jwk.purpose.as_deref().is_none_or(|purpose| purpose == "sig");
        signs.then_some(PublicKey { id: jwk.kid, alg: jwk.alg, material })
    }

    fn fits(&self, alg: Algorithm) -> bool {
        use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
        let of_its_kind = match self.material {
            Material::Rsa { .. } => matches!(alg, RS256 | RS384 | RS512 | PS256 | PS384 | PS512),
            Material::P256(_) => alg == ES256,
            Material::P384(_) => alg == ES384,
            Material::Ed25519(_) => alg == EdDSA,
        };
        of_its_kind && self.alg.as_deref().is_none_or(|named| named == format!("{alg:?}"))
    }

    /// Whether the signature is this key's over the message. RSA keys of less than 2048 bits verify nothing.
    pub(super) fn verifies(&self, alg: Algorithm, message: &[u8], signed: &[u8]) -> bool {
        let plain = |alg: &'static dyn VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(alg, key).verify(message, signed).is_ok()
        };
        match &self.material {
            Material::P256(key) => plain(&signature::ECDSA_P256_SHA256_FIXED, key),
            Material::P384(key) => plain(&signature::ECDSA_P384_SHA384_FIXED, key),
            Material::Ed25519(key) => plain(&signature::ED25519, key),
            Material::Rsa { n, e } => {
                let parameters = match alg {
                    Algorithm::RS256 => &signature::RSA_PKCS1_2048_8192_SHA256,
                    Algorithm::RS384 => &signature::RSA_PKCS1_2048_8192_SHA384,
                    Algorithm::RS512 => &signature::RSA_PKCS1_2048_8192_SHA512,
                    Algorithm::PS256 => &signature::RSA_PSS_2048_8192_SHA256,
                    Algorithm::PS384 => &signature::RSA_PSS_2048_8192_SHA384,
                    Algorithm::PS512 => &signature::RSA_PSS_2048_8192_SHA512,
                    Algorithm::ES256 | Algorithm::ES384 | Algorithm::EdDSA => return false,
                };
                RsaPublicKeyComponents { n, e }.verify(parameters, message, signed).is_ok()
            }
        }
    }
}

/// A number without the zeros that some issuers put before it.
fn number(bytes: Vec<u8>) -> Vec<u8> {
    bytes.into_iter().skip_while(|byte| *byte == 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_that_verify_signatures_are_kept() {
        let text = r#"{"keys": [
            {"kty": "oct", "kid": "shared", "k": "c2VjcmV0"},
            {"kty": "RSA", "kid": "enc", "use": "enc", "n": "AQAB", "e": "AQAB"},
            {"kty": "EC", "crv": "P-256", "kid": "short", "x": "AQAB", "y": "AQAB"},
            {"kty": "OKP", "crv": "X25519", "kid": "x", "x": "AQAB"},
            {"kty": "future", "kid": ["?"]}, 7,
            {"kty": "RSA", "kid": "r", "use": "sig", "alg": "RS256", "n": "AAEAAQ", "e": "AQAB"},
            {"kty": "OKP", "crv": "Ed25519", "x": "AQAB"}
        ]}"#;
        let keys = KeySet::parse(text).expect("two of use");
        assert_eq!(keys.count(), 2);
        let count = |id: Option<&str>, alg| keys.candidates(id, alg).count();
        assert_eq!((count(Some("r"), Algorithm::RS256), count(Some("r"), Algorithm::RS512)), (1, 0));
        assert_eq!((count(None, Algorithm::EdDSA), count(Some("r"), Algorithm::EdDSA)), (1, 0));
        assert_eq!((count(Some("shared"), Algorithm::RS256), count(None, Algorithm::ES256)), (0, 0));
        for bad in ["", "[]", r#"{"keys": []}"#, r#"{"keys": [{"kty": "oct", "k": "eA"}]}"#] {
            assert!(KeySet::parse(bad).is_err(), "{bad}");
        }
    }
}
