//! Authorities and the certificates they give, good and bad.

use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, RevokedCertParams, SanType, SerialNumber,
    date_time_ymd,
};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use weir_tests::world::canaries;

/// Who signs certificates.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
pub(super) struct Certified {
    der: CertificateDer<'static>,
    pem: String,
    key: KeyPair,
}

/// What is wrong with a client's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    Expired,
    NotYet,
    ForServers,
    Revoked,
}

const REVOKED: u64 = 666;

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A server's certificate for 127.0.0.1.
    pub(super) fn server(&self) -> Certified {
        self.sign(&CertificateParams::new(["127.0.0.1".to_owned()]).unwrap())
    }

    /// A client's, with these DNS names and URIs.
    pub(super) fn client(&self, names: &[&str], fault: Fault) -> Certified {
        let mut params = CertificateParams::default();
        let san = |name: &&str| {
            let text = (*name).try_into().unwrap();
            if name.contains(':') { SanType::URI(text) } else { SanType::DnsName(text) }
        };
        params.subject_alt_names = names.iter().map(san).collect();
        params.extended_key_usages = vec![match fault {
            Fault::ForServers => ExtendedKeyUsagePurpose::ServerAuth,
            _ => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        match fault {
            Fault::Expired => params.not_after = date_time_ymd(2025, 1, 1),
            Fault::NotYet => params.not_before = date_time_ymd(2200, 1, 1),
            Fault::Revoked => params.serial_number = Some(SerialNumber::from(REVOKED)),
            Fault::None | Fault::ForServers => {}
        }
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Certified {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Certified { der: certificate.der().clone(), pem: certificate.pem(), key }
    }

    /// The list on which [`Fault::Revoked`] is.
    pub(super) fn revoked(&self) -> String {
        let (this_update, next_update) = (date_time_ymd(2020, 1, 1), date_time_ymd(2200, 1, 1));
        let params = CertificateRevocationListParams {
            this_update,
            next_update,
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from(REVOKED),
                revocation_time: this_update,
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.0).unwrap().pem().unwrap()
    }
}

impl Certified {
    /// Writes both files, the key first: the gateway may look in between.
    pub(super) fn write(&self, folder: &Path) {
        canaries().note(&self.key.serialize_pem());
        std::fs::write(folder.join("server.key"), self.key.serialize_pem()).unwrap();
        std::fs::write(folder.join("server.pem"), &self.pem).unwrap();
    }

    pub(super) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }
}

/// A client's side of TLS: whom it trusts, who it is, and what it offers to speak.
pub(super) fn client(
    trusted: &Authority,
    own: Option<&Certified>,
    alpn: &[&str],
    tls12: bool,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.0.der().clone()).unwrap();
    let versions = if tls12 { [&TLS12] } else { [&TLS13] };
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_protocol_versions(&versions).unwrap().with_root_certificates(roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let key = PrivateKeyDer::try_from(own.key.serialize_der()).unwrap();
            builder.with_client_auth_cert(vec![own.der.clone()], key).unwrap()
        }
    };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    config
}
