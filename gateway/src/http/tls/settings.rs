//! What the config says about the TLS of a listener.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use super::files::Files;
use crate::secret::Secret;

/// TLS of a listener. Its files are looked at every second, and new connections get what is new.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// A PEM file: the certificate, then those of the authorities between it and one that clients know.
    pub certificate: PathBuf,
    /// Its private key, in PEM.
    pub key: Secret,
    /// A PEM file with the authorities whose certificates clients may come with.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
    /// A PEM file with those authorities' lists of revoked certificates; each authority needs one then.
    #[serde(default)]
    pub client_crl: Option<PathBuf>,
    /// Whether a client is asked for a certificate: `none`, `optional`, `required`. `access.certificates` says whose it is.
    #[serde(default)]
    pub client_auth: ClientAuth,
}

/// Whether a client is asked for a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// It is not.
    #[default]
    None,
    /// It may have one; a bad one is refused.
    Optional,
    /// Without a good one there is no connection.
    Required,
}

impl Settings {
    /// What cannot be meant, or `None`.
    pub fn fault(&self) -> Option<&'static str> {
        let asks = self.client_auth != ClientAuth::None;
        if asks && self.client_ca.is_none() {
            Some("`client_auth` needs a `client_ca`: no certificate could be good")
        } else if !asks && (self.client_ca.is_some() || self.client_crl.is_some()) {
            Some("no client is asked for a certificate: write `client_auth: optional` or `required`")
        } else {
            None
        }
    }

    /// What is wrong with the files.
    pub fn check(&self) -> Result<(), String> {
        Files::read(self)?.config(self.client_auth).map(drop)
    }

    /// Makes relative paths relative to `folder`.
    pub fn anchor(&mut self, folder: &Path) {
        self.key.anchor(folder);
        let others = self.client_ca.iter_mut().chain(&mut self.client_crl);
        for path in others.chain([&mut self.certificate]) {
            *path = folder.join(&*path);
        }
    }
}
