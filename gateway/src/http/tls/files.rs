//! The files of a listener's TLS, and the way from them to what rustls serves.

use std::path::Path;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::{DEFAULT_VERSIONS, RootCertStore, ServerConfig};

use super::{ClientAuth, H2, HTTP11, Settings};
use crate::access::file;
use crate::secret::Revealed;

/// More than any chain or set of authorities takes; lists of revoked certificates are long.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// What the files held when they were read.
pub(super) struct Files {
    certificate: String,
    key: Revealed,
    client_ca: Option<String>,
    client_crl: Option<String>,
}

impl Files {
    pub(super) fn read(settings: &Settings) -> Result<Self, String> {
        let read = |path: &Path| file::read(path, FILE_BYTES_MAX);
        Ok(Files {
            certificate: read(&settings.certificate)?,
            key: settings.key.reveal().map_err(|error| error.to_string())?,
            client_ca: settings.client_ca.as_deref().map(read).transpose()?,
            client_crl: settings.client_crl.as_deref().map(read).transpose()?,
        })
    }

    /// Tells whether they changed, without keeping the key.
    pub(super) fn digest(&self) -> [u8; 32] {
        let optional = [&self.client_ca, &self.client_crl].map(|text| text.as_deref().unwrap_or_default());
        let parts = [&self.certificate, self.key.as_str()].into_iter().chain(optional);
        let each = parts.fold(Sha256::new(), |all, text| all.chain_update(Sha256::digest(text)));
        each.finalize().into()
    }

    /// What rustls serves with them, or why it cannot.
    pub(super) fn config(&self, client_auth: ClientAuth) -> Result<ServerConfig, String> {
        let chain = each::<CertificateDer<'static>>("the certificate", &self.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_str().as_bytes())
            .map_err(|_| "the private key is not one in PEM".to_owned())?;
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(DEFAULT_VERSIONS)
            .map_err(|error| error.to_string())?;
        let verifier = self.verifier(client_auth)?;
        let asks = verifier.is_some();
        let builder = match verifier {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|error| format!("certificate and key cannot be used together: {error}"))?;
        config.alpn_protocols = vec![H2.to_vec(), HTTP11.to_vec()];
        if asks {
            // A session that is taken up again skips the client's certificate, which may have ended or been revoked.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        } else {
            config.ticketer = ring::Ticketer::new().map_err(|error| error.to_string())?;
        }
        Ok(config)
    }

    fn verifier(&self, client_auth: ClientAuth) -> Result<Option<Arc<dyn ClientCertVerifier>>, String> {
        let authorities = match (client_auth, &self.client_ca) {
            (ClientAuth::None, _) | (_, None) => return Ok(None),
            (_, Some(authorities)) => each::<CertificateDer<'static>>("`client_ca`", authorities)?,
        };
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots
                .add(authority)
                .map_err(|error| format!("`client_ca` holds what is no authority: {error}"))?;
        }
        let lists = self.client_crl.as_deref().map(|text| each("`client_crl`", text)).transpose()?;
        let lists: Vec<CertificateRevocationListDer<'static>> = lists.unwrap_or_default();
        let provider = Arc::new(ring::default_provider());
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).with_crls(lists);
        let builder =
            if client_auth == ClientAuth::Optional { builder.allow_unauthenticated() } else { builder };
        builder.build().map(Some).map_err(|error| format!("clients cannot be verified: {error}"))
    }
}

/// Every object of a kind in a PEM text; there has to be one.
fn each<T: PemObject>(what: &str, text: &str) -> Result<Vec<T>, String> {
    let found: Result<Vec<T>, _> = T::pem_slice_iter(text.as_bytes()).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or_else(|| format!("{what} is not PEM, or holds none"))
}
