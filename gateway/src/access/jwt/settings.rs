//! What the config says of tokens.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Algorithm;

/// Tokens of one issuer.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JwtSettings {
    /// Who has to have made them (`iss`).
    pub issuer: String,
    /// For whom they have to be (`aud`): any of these.
    pub audiences: Vec<String>,
    /// How they may be signed; no other algorithm is taken, whatever a token says.
    pub algorithms: Vec<Algorithm>,
    /// Where the issuer's keys are: an `https` address, asked in the background.
    #[serde(default)]
    pub jwks_url: Option<String>,
    /// Or a file with them, looked at every second.
    #[serde(default)]
    pub jwks_file: Option<PathBuf>,
    /// How often the address is asked, in seconds.
    #[serde(default = "five_minutes")]
    pub jwks_refresh_s: u32,
    /// The claim that names the tenant, or a JSON pointer to it; absent: the tenant `default`.
    #[serde(default)]
    pub tenant_claim: Option<String>,
    /// The claim with the roles, or a JSON pointer to it: a list, or words with spaces between them.
    #[serde(default = "roles")]
    pub role_claim: String,
    /// How far clocks may be apart, in seconds.
    #[serde(default = "half_a_minute")]
    pub leeway_s: u32,
}

fn five_minutes() -> u32 {
    300
}

fn roles() -> String {
    "roles".to_owned()
}

fn half_a_minute() -> u32 {
    30
}

impl JwtSettings {
    /// What cannot be meant, or `None`.
    pub fn fault(&self) -> Option<&'static str> {
        if self.issuer.is_empty() || self.audiences.is_empty() || self.audiences.contains(&String::new()) {
            Some("`issuer` and `audiences` say which tokens are for this gateway: neither may be empty")
        } else if self.algorithms.is_empty() {
            Some("`algorithms` is empty: no token could be right")
        } else if self.jwks_url.is_some() == self.jwks_file.is_some() {
            Some("the issuer's keys are either at a `jwks_url` or in a `jwks_file`")
        } else if !self.jwks_url.as_deref().is_none_or(is_safe) {
            Some("keys that come without TLS are anybody's: `jwks_url` begins with `https://`")
        } else if !(1..=3600).contains(&self.jwks_refresh_s) || self.leeway_s > 300 {
            Some("`jwks_refresh_s` is 1 to 3600, and `leeway_s` at most 300")
        } else {
            None
        }
    }
}

/// Without TLS, only this machine is asked.
fn is_safe(url: &str) -> bool {
    let loopback = ["http://127.0.0.1:", "http://[::1]:", "http://localhost:"];
    let port = |rest: &str| {
        rest.split('/').next().is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
    };
    url.starts_with("https://") || loopback.iter().any(|start| url.strip_prefix(start).is_some_and(port))
}

#[cfg(test)]
mod tests {
    use super::is_safe;

    #[test]
    fn keys_come_over_tls_or_from_here() {
        for (url, safe) in [
            ("https://idp.example/keys", true),
            ("http://127.0.0.1:8000/keys", true),
            ("http://localhost:8000", true),
            ("http://idp.example/keys", false),
            ("http://localhost:1@idp.example/keys", false),
            ("http://127.0.0.1.idp.example/keys", false),
            ("ftp://127.0.0.1:1/keys", false),
            ("file:///etc/passwd", false),
        ] {
            assert_eq!(is_safe(url), safe, "{url}");
        }
    }
}
