//! Signed webhooks: a body with an HMAC-SHA256 (RFC 2104) of its bytes as sent, under a secret that both sides know.
//! A valid signature is the sender's identity, for its route alone.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use schemars::JsonSchema;
use serde::Deserialize;
use sha2::Sha256;

use super::text::unhex;
use crate::problem::{Code, Problem};
use crate::secret::{Secret, SecretError};

/// A header with a signature is no longer than this, and holds no more signatures than that.
const HEADER_BYTES_MAX: usize = 1024;
const SIGNATURES_MAX: usize = 8;

/// How the bodies of a route are signed. Such a route needs no key, and takes no event without a signature.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignatureSettings {
    /// `github` (`X-Hub-Signature-256`), `stripe` (`Stripe-Signature`, with its time), or `header`: one of your own.
    pub scheme: Scheme,
    /// The secrets that hold; two or more while they are rotated.
    pub secrets: Vec<Secret>,
    /// For `header`: the header's name.
    #[serde(default)]
    pub header: Option<String>,
    /// For `header`: how the signature is written in it.
    #[serde(default)]
    pub encoding: Encoding,
    /// For `header`: what stands before the signature in it, e.g. `sha256=`.
    #[serde(default)]
    pub prefix: String,
    /// For `stripe`: how far the signed time may be from ours.
    #[serde(default = "five_minutes")]
    pub tolerance_s: u64,
}

fn five_minutes() -> u64 {
    300
}

/// Who taught us how to sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// `X-Hub-Signature-256: sha256=<hex>`.
    Github,
    /// `Stripe-Signature: t=<seconds>,v1=<hex>`, over `<seconds>.<body>`.
    Stripe,
    /// A header of the sender's own.
    Header,
}

/// How a signature is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// 64 hex digits.
    #[default]
    Hex,
    /// Standard base64, padded.
    Base64,
}

impl SignatureSettings {
    /// What cannot be meant, or `None`.
    pub fn fault(&self) -> Option<&'static str> {
        let is_name = |name: &String| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        let own = self.scheme == Scheme::Header;
        if self.secrets.is_empty() {
            Some("there is no secret: no signature could be right")
        } else if own != self.header.as_ref().is_some_and(is_name) || (!own && self.header.is_some()) {
            Some("`header` names the header of the scheme `header`, and of no other")
        } else if !own && (!self.prefix.is_empty() || self.encoding != Encoding::Hex) {
            Some("`prefix` and `encoding` go with the scheme `header`")
        } else {
            None
        }
    }
}

/// Tells right signatures from wrong ones.
pub struct Signature {
    header: String,
    scheme: Scheme,
    encoding: Encoding,
    prefix: String,
    tolerance_s: u64,
    keys: Vec<Hmac<Sha256>>,
}

impl std::fmt::Debug for Signature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signature({})", self.header)
    }
}

impl Signature {
    /// Reads the secrets.
    pub fn new(settings: &SignatureSettings) -> Result<Self, SecretError> {
        let key = |secret: &Secret| {
            let secret = secret.reveal()?;
            Ok(Hmac::new_from_slice(secret.as_str().as_bytes()).expect("HMAC takes a key of any length"))
        };
        let (header, prefix) = match settings.scheme {
            Scheme::Github => ("x-hub-signature-256", "sha256="),
            Scheme::Stripe => ("stripe-signature", ""),
            Scheme::Header => (settings.header.as_deref().unwrap_or_default(), settings.prefix.as_str()),
        };
        Ok(Signature {
            header: header.to_ascii_lowercase(),
            scheme: settings.scheme,
            encoding: settings.encoding,
            prefix: prefix.to_owned(),
            tolerance_s: settings.tolerance_s,
            keys: settings.secrets.iter().map(key).collect::<Result<_, _>>()?,
        })
    }

    /// The header that carries it, in lower case.
    pub fn header(&self) -> &str {
        &self.header
    }

    /// Whether the header's value signs this body under one of the secrets.
    pub fn verify(&self, value: &[u8], body: &[u8], now_s: i64) -> Result<(), Problem> {
        let value = std::str::from_utf8(value).ok().filter(|value| value.len() <= HEADER_BYTES_MAX);
        let signed = value.is_some_and(|value| match self.scheme {
            Scheme::Stripe => self.stripe(value, body, now_s),
            Scheme::Github | Scheme::Header => {
                let presented = value.strip_prefix(&self.prefix).and_then(|text| self.decode(text));
                presented.is_some_and(|presented| self.signs(&[body], &presented))
            }
        });
        if signed { Ok(()) } else { Err(bad_signature()) }
    }

    /// The time is signed too, as it was written, so that an old request cannot be sent again.
    fn stripe(&self, value: &str, body: &[u8], now_s: i64) -> bool {
        let (mut time, mut presented) = (None, Vec::new());
        for (name, value) in value.split(',').filter_map(|part| part.trim().split_once('=')) {
            match name {
                "t" if time.replace(value).is_some() => return false,
                "v1" => presented.extend(unhex(value)),
                _ => {}
            }
        }
        let Some(time) = time.filter(|time| time.bytes().all(|byte| byte.is_ascii_digit())) else {
            return false;
        };
        let near = time.parse::<i64>().is_ok_and(|signed_s| now_s.abs_diff(signed_s) <= self.tolerance_s);
        let signs = |presented| self.signs(&[time.as_bytes(), b".", body], presented);
        near && presented.len() <= SIGNATURES_MAX && presented.iter().any(signs)
    }

    fn decode(&self, text: &str) -> Option<[u8; 32]> {
        match self.encoding {
            Encoding::Hex => unhex(text),
            Encoding::Base64 => STANDARD.decode(text).ok()?.try_into().ok(),
        }
    }

    /// Every secret is tried, whichever is right; each is compared in constant time.
    fn signs(&self, parts: &[&[u8]], presented: &[u8; 32]) -> bool {
        let under = |key: &Hmac<Sha256>| {
            let mac = parts.iter().fold(key.clone(), |mac, part| mac.chain_update(part));
            mac.verify_slice(presented).is_ok()
        };
        self.keys.iter().map(under).fold(false, |any, this| any | this)
    }
}

/// The one answer to a signature that is missing or wrong.
pub fn bad_signature() -> Problem {
    Problem::new(
        Code::BadSignature,
        "sign the body's bytes as they are sent, with the secret agreed on for this route",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_S: i64 = 1_492_774_577;

    fn signature(scheme: Scheme, secrets: &[&str]) -> Signature {
        let key = |secret: &&str| Hmac::new_from_slice(secret.as_bytes()).expect("a key");
        let (header, prefix) = match scheme {
            Scheme::Github => ("x-hub-signature-256", "sha256="),
            Scheme::Stripe | Scheme::Header => ("x", ""),
        };
        Signature {
            header: header.to_owned(),
            scheme,
            encoding: Encoding::Hex,
            prefix: prefix.to_owned(),
            tolerance_s: 300,
            keys: secrets.iter().map(key).collect(),
        }
    }

    fn sign(secret: &str, parts: &[&str]) -> Vec<u8> {
        let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key");
        parts.iter().fold(mac, |mac, part| mac.chain_update(part)).finalize().into_bytes().to_vec()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn githubs_published_example_is_right_and_nothing_near_it() {
        let github = signature(Scheme::Github, &["another", "It's a Secret to Everybody"]);
        let good = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let is_right =
            |value: &str, body: &str| github.verify(value.as_bytes(), body.as_bytes(), NOW_S).is_ok();
        assert!(is_right(good, "Hello, World!"));
        assert!(is_right(&good.to_uppercase().replace("SHA256", "sha256"), "Hello, World!"));
        let bare = good.trim_start_matches("sha256=");
        let wrong = [
            bare.to_owned(),
            format!("sha1={bare}"),
            format!("sha256={}", bare.get(2..).expect("text")),
            format!("{good}00"),
            format!("{good},{good}"),
            good.replace('7', "8"),
            format!("sha256={}", "0".repeat(64)),
            "sha256=".to_owned(),
            String::new(),
            format!("sha256={}", "z".repeat(64)),
        ];
        for value in wrong {
            assert!(!is_right(&value, "Hello, World!"), "{value}");
        }
        assert!(!is_right(good, "Hello, World! ") && !is_right(good, ""));
        assert!(github.verify(b"sha256=\xff", b"", NOW_S).is_err());
    }

    #[test]
    fn stripes_time_is_signed_and_near() {
        let stripe = signature(Scheme::Stripe, &["whsec_new", "whsec_old"]);
        let value =
            |time: &str, secret: &str| format!("t={time},v1={}", hex(&sign(secret, &[time, ".", "{}"])));
        let is_right = |value: &str| stripe.verify(value.as_bytes(), b"{}", NOW_S).is_ok();
        let now = NOW_S.to_string();
        assert!(is_right(&value(&now, "whsec_new")) && is_right(&value(&now, "whsec_old")));
        let (good, other) = (value(&now, "whsec_old"), value(&now, "other"));
        assert!(is_right(&format!("{other},{}", good.split_once(',').expect("two parts").1)));
        assert!(is_right(&format!("{good},v0=00,scheme")));
        for (seconds, near) in [(300, true), (-300, true), (301, false), (-301, false)] {
            assert_eq!(is_right(&value(&(NOW_S + seconds).to_string(), "whsec_new")), near, "{seconds}");
        }
        let moved = good.replace(&now, &(NOW_S + 1).to_string());
        let many = format!("t={now}{}", format!(",v1={}", hex(&[0; 32])).repeat(9));
        for wrong in [
            moved,
            format!("t={now},{good}"),
            other,
            many,
            format!("t={now}"),
            value("+1492774577", "whsec_new"),
            String::new(),
        ] {
            assert!(!is_right(&wrong), "{wrong}");
        }
    }

    #[test]
    fn a_header_of_ones_own_may_be_base64_behind_a_prefix() {
        let own = Signature {
            encoding: Encoding::Base64,
            prefix: "v0,".to_owned(),
            ..signature(Scheme::Header, &["s"])
        };
        let good = format!("v0,{}", STANDARD.encode(sign("s", &["body"])));
        assert!(own.verify(good.as_bytes(), b"body", NOW_S).is_ok());
        for wrong in
            [good.replace("v0,", ""), good.replace('=', ""), good.replace("v0", "v1"), format!("{good} ")]
        {
            assert!(own.verify(wrong.as_bytes(), b"body", NOW_S).is_err(), "{wrong}");
        }
    }

    #[test]
    fn settings_that_cannot_be_meant_are_told() {
        let read =
            |text: &str| serde_json::from_str::<SignatureSettings>(text).expect("settings").fault().is_some();
        let secrets = r#""secrets": [{"env": "X"}]"#;
        for (rest, wrong) in [
            (format!(r#""scheme": "github", {secrets}"#), false),
            (
                format!(
                    r#""scheme": "header", "header": "x-sig", "prefix": "v1=", "encoding": "base64", {secrets}"#
                ),
                false,
            ),
            (format!(r#""scheme": "header", {secrets}"#), true),
            (format!(r#""scheme": "header", "header": "x sig", {secrets}"#), true),
            (format!(r#""scheme": "github", "header": "x-sig", {secrets}"#), true),
            (format!(r#""scheme": "github", "header": "x sig", {secrets}"#), true),
            (format!(r#""scheme": "stripe", "prefix": "v1=", {secrets}"#), true),
            (r#""scheme": "stripe", "secrets": []"#.to_owned(), true),
        ] {
            assert_eq!(read(&format!("{{{rest}}}")), wrong, "{rest}");
        }
    }
}
