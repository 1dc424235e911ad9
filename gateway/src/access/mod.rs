//! Who may do what: a credential becomes an [`Identity`], and [`authorize()`] says what that may do. It knows no HTTP;
//! the edges bring it what a client presented, and ask before anything of the request is read.
//!
//! Nothing here is logged or answered that a client presented.

mod authorize;
mod certificate;
mod counters;
pub(crate) mod file;
mod follow;
mod jwt;
mod key;
mod settings;
pub mod signature;
mod text;

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;
use jiff::Timestamp;

pub use self::authorize::{Action, Identity, Resource, Role, Tenant, authorize};
use self::certificate::Certificates;
pub use self::certificate::{CertificateSettings, Names};
use self::counters::Counters;
use self::jwt::Tokens;
pub use self::jwt::{Algorithm, JwtSettings};
use self::key::Keys;
pub use self::key::{KeySettings, Minted, mint};
pub use self::settings::Settings;
use crate::metrics::Metrics;
use crate::problem::{Code, Problem};

/// Who there is. One for the whole process; what is in force changes under it.
#[derive(Debug)]
pub struct Access {
    /// Whether anyone may do anything, because no method is configured.
    open: bool,
    /// Those of the config, which the ones of the file come on top of.
    configured: Vec<KeySettings>,
    keys_file: Option<PathBuf>,
    keys: ArcSwap<Keys>,
    tokens: Option<Arc<Tokens>>,
    certificates: Certificates,
    counters: Counters,
}

/// Why access cannot be given as the config says.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The keys, the issuer's, or the names of certificates cannot be used; says which and why, and repeats nothing of
    /// a file but ids.
    #[error("access: {0}")]
    Keys(String),
    /// The metrics cannot be registered.
    #[error("access: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The machine refused a thread.
    #[error("access: {0}")]
    Thread(#[from] std::io::Error),
}

/// Who is meant where nobody is asked who they are.
static ANYONE: LazyLock<Arc<Identity>> = LazyLock::new(|| Arc::new(Identity::anyone()));

impl Access {
    /// Reads the keys, and follows their file from now on.
    pub fn start(settings: &Settings, metrics: &Metrics) -> Result<Arc<Self>, AccessError> {
        let counters = Counters::new(metrics.registry())?;
        let keys = Keys::read(&settings.keys, settings.keys_file.as_deref()).map_err(AccessError::Keys)?;
        counters.keys(keys.count());
        let tokens = settings.jwt.clone().map(|jwt| Tokens::start(jwt, counters.clone()));
        let access = Arc::new(Access {
            open: !settings.asks(),
            configured: settings.keys.clone(),
            keys_file: settings.keys_file.clone(),
            keys: ArcSwap::from_pointee(keys),
            tokens: tokens.transpose().map_err(AccessError::Keys)?,
            certificates: Certificates::new(&settings.certificates).map_err(AccessError::Keys)?,
            counters,
        });
        access.follow()?;
        Ok(access)
    }

    /// Whether nobody is asked who they are.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Whoever it is, where nobody is asked.
    pub fn anyone() -> Arc<Identity> {
        Arc::clone(&ANYONE)
    }

    /// Who presents this. A key or token says it, where there is one; else the connection's certificate does.
    pub fn identify(&self, presented: Presented<'_>) -> Result<Arc<Identity>, Problem> {
        let certificate = presented.certificate.filter(|_| !self.certificates.is_empty());
        match (presented.credential, certificate) {
            (None, Some(names)) => self.certificates.holder(names).ok_or_else(nobodys),
            (credential, _) => {
                let holder = self.holder(credential.unwrap_or_default())?;
                self.confirm(&holder, presented.certificate).map(|()| holder)
            }
        }
    }

    /// Whether the certificate, if it is somebody's, is not that of another tenant than `identity`.
    pub fn confirm(&self, identity: &Identity, certificate: Option<&Names>) -> Result<(), Problem> {
        let holder = certificate.and_then(|names| self.certificates.holder(names));
        if holder.is_none_or(|holder| holder.is_of_the_tenant_of(identity)) {
            Ok(())
        } else {
            Err(mismatch())
        }
    }

    /// Whose credential this is. The same work and the same answer whatever is wrong with it.
    fn holder(&self, credential: &[u8]) -> Result<Arc<Identity>, Problem> {
        let now_s = Timestamp::now().as_second();
        let keys = self.keys.load();
        let by_token = || self.tokens.as_ref()?.holder(credential, now_s);
        keys.holder(credential, now_s).map(Arc::clone).or_else(by_token).ok_or_else(unauthorized)
    }

    /// Counts a request that was turned away.
    pub fn refused(&self, code: Code) {
        self.counters.refused(code);
    }
}

/// What a request and its connection present of whoever sends it.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'p> {
    /// The request's key or token; empty if it is not to be told which, absent if it has none.
    pub credential: Option<&'p [u8]>,
    /// The names in the connection's certificate, which was verified.
    pub certificate: Option<&'p Names>,
}

fn nobodys() -> Problem {
    Problem::new(Code::NotPermitted, "the certificate has no name, or more than one, that is known here")
}

fn mismatch() -> Problem {
    let detail =
        "the connection's certificate is of another tenant than the key or token: send one of the two";
    Problem::new(Code::CredentialMismatch, detail)
}

fn unauthorized() -> Problem {
    Problem::new(Code::Unauthorized, "send a valid key or token: `Authorization: Bearer …`")
}
