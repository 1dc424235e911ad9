//! TLS of a listener (RFC 8446; RFC 5246 for older clients): the handshake, on the worker that serves the connection, and
//! what is known after it. rustls does the rest, on ring.

mod counters;
mod files;
mod follow;
mod settings;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;

pub use self::counters::Counters;
use self::files::Files;
pub use self::settings::{ClientAuth, Settings};
use super::doors::Listener;
use super::head::Heard;
use crate::access::Names;

/// The protocol of HTTP/2 in a handshake (RFC 9113 §3.2).
const H2: &[u8] = b"h2";
const HTTP11: &[u8] = b"http/1.1";

/// The TLS of one listener. What is in force changes under it, for new connections.
#[derive(Debug)]
pub struct Tls {
    settings: Settings,
    listener: Listener,
    in_force: ArcSwap<ServerConfig>,
    counters: Counters,
}

/// Why a listener cannot have the TLS that its config asks for.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The files cannot be used; says which and why, and repeats nothing of them.
    #[error("{0}: {1}")]
    Files(&'static str, String),
    /// The machine refused a thread.
    #[error("tls: {0}")]
    Thread(#[from] io::Error),
}

/// A connection after its handshake.
pub(super) struct Secured {
    pub(super) stream: TlsStream<Heard>,
    /// Whether it agreed on HTTP/2.
    pub(super) h2: bool,
    /// The names in the client's certificate, if it has one; it was verified.
    pub(super) names: Option<Arc<Names>>,
}

impl Tls {
    /// Reads the files, and follows them from now on.
    pub fn start(
        settings: &Settings,
        listener: Listener,
        counters: &Counters,
    ) -> Result<Arc<Self>, TlsError> {
        let refused = |why| TlsError::Files(section(listener), why);
        let files = Files::read(settings).map_err(refused)?;
        let config = files.config(settings.client_auth).map_err(refused)?;
        let tls = Tls {
            settings: settings.clone(),
            listener,
            in_force: ArcSwap::from_pointee(config),
            counters: counters.clone(),
        };
        let tls = Arc::new(tls);
        tls.follow(files.digest())?;
        Ok(tls)
    }

    /// Shakes hands within `limit`, or counts that it could not. A client that is refused gets an alert.
    pub(super) async fn accept(&self, stream: Heard, limit: Duration) -> Option<Secured> {
        let acceptor = TlsAcceptor::from(self.in_force.load_full());
        let refused = match tokio::time::timeout(limit, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => return Some(Secured::new(stream)),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it took too long".to_owned(),
        };
        tracing::debug!(listener = section(self.listener), why = %refused, "no handshake");
        self.counters.refused(self.listener);
        None
    }
}

impl Secured {
    fn new(stream: TlsStream<Heard>) -> Self {
        let (_, session) = stream.get_ref();
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        let certificate = certificate.and_then(|der| webpki::EndEntityCert::try_from(der).ok());
        let names = certificate
            .map(|certificate| Names::new(certificate.valid_dns_names(), certificate.valid_uri_names()));
        Secured { h2: session.alpn_protocol() == Some(H2), names: names.map(Arc::new), stream }
    }
}

/// Where a listener's TLS is in the config.
fn section(listener: Listener) -> &'static str {
    match listener {
        Listener::Public => "tls",
        Listener::Admin => "admin_tls",
    }
}
