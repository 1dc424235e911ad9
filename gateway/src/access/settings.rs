//! What the config says about who may do what.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use super::KeySettings;
use super::certificate::{CertificateSettings, Certificates};
use super::jwt::{self, JwtSettings};
use super::key::Keys;

/// Who may do what. With nothing in it, nobody is asked who they are, and both listeners have to be loopback.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Whether anyone may do anything although a listener is not loopback. Not beside keys.
    pub open: bool,
    /// API keys; `weir keys new` makes one.
    pub keys: Vec<KeySettings>,
    /// A file with a list of more keys (YAML or JSON), looked at every second.
    pub keys_file: Option<PathBuf>,
    /// Whom the certificates of clients speak for, where a listener asks for them.
    pub certificates: Vec<CertificateSettings>,
    /// Tokens of an identity provider.
    pub jwt: Option<JwtSettings>,
}

impl Settings {
    /// Whether a client is asked who it is.
    pub fn asks(&self) -> bool {
        !self.keys.is_empty()
            || self.keys_file.is_some()
            || self.jwt.is_some()
            || !self.certificates.is_empty()
    }

    /// What is wrong with the keys of the config.
    pub fn check(&self) -> Result<(), String> {
        Keys::new(&self.keys, "").map(drop)
    }

    /// What is wrong with the certificates of the config.
    pub fn check_certificates(&self) -> Result<(), String> {
        Certificates::new(&self.certificates).map(drop)
    }

    /// How many keys the config and the file hold together, or what is wrong with them.
    pub fn count(&self) -> Result<usize, String> {
        Keys::read(&self.keys, self.keys_file.as_deref()).map(|keys| keys.count())
    }

    /// How many keys the issuer's file holds, or what is wrong with it; `None` without such a file.
    pub fn issuers_keys(&self) -> Option<Result<usize, String>> {
        self.jwt.as_ref()?.jwks_file.as_deref().map(jwt::count)
    }

    /// Makes relative paths relative to `folder`.
    pub fn anchor(&mut self, folder: &Path) {
        let jwks = self.jwt.as_mut().and_then(|jwt| jwt.jwks_file.as_mut());
        for path in self.keys_file.iter_mut().chain(jwks) {
            *path = folder.join(&*path);
        }
    }
}
