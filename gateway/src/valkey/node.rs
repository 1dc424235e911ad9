//! One connection to one Valkey node, and what its errors mean. It does not know which node owns what.

use std::fs::File;
use std::future::{Future as _, poll_fn};
use std::io::BufReader;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, KeysInterface};
use fred::rustls::pki_types::pem::PemObject;
use fred::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use fred::rustls::{ClientConfig, RootCertStore};
use fred::types::config::{
    Config, ConnectionConfig, CredentialProvider, PerformanceConfig, ReconnectPolicy, Server, ServerConfig,
    TlsConfig, UnresponsiveConfig,
};
use fred::types::{Builder, ClusterHash, CustomCommand, Expiration, Key, RespVersion, Value};
use futures_util::future::{join_all, maybe_done};
use tokio::runtime::Handle;

use super::{FEED_TIMEOUT, LOOKUP_TIMEOUT, Password, Settings, SettingsError, Tls};
use crate::ports::StoreError;

/// Commands that may wait for one node before it pushes back.
const BUFFERED_COMMANDS_MAX: usize = 10_000;

/// One command, ready to be sent.
#[derive(Clone)]
pub(super) struct Command {
    pub(super) name: &'static str,
    pub(super) args: Vec<Value>,
}

/// Makes clients that differ only in their server.
pub(super) struct Factory {
    /// `None`: not at all.
    login: Option<Arc<Login>>,
    tls: Option<TlsConfig>,
    runtime: Handle,
    /// Of one command, or of some in one go.
    timeout: Duration,
}

impl Factory {
    pub(super) fn new(settings: &Settings, runtime: Handle) -> Result<Factory, SettingsError> {
        let tls = settings.tls.as_ref().map(tls_config).transpose()?;
        let login = |password| Arc::new(Login { username: settings.username.clone(), password });
        Ok(Factory { login: settings.password.clone().map(login), tls, runtime, timeout: FEED_TIMEOUT })
    }

    /// The same for lookups, on another runtime.
    pub(super) fn for_lookups(&self, runtime: Handle) -> Factory {
        Factory { login: self.login.clone(), tls: self.tls.clone(), runtime, timeout: LOOKUP_TIMEOUT }
    }

    /// A client that connects, and reconnects, by itself.
    pub(super) fn connect(&self, server: Server) -> Result<Client, StoreError> {
        let config = Config {
            fail_fast: false,
            version: RespVersion::RESP3,
            credential_provider: self.login.clone().map(|login| login as Arc<dyn CredentialProvider>),
            tls: self.tls.clone(),
            server: ServerConfig::Centralized { server },
            ..Config::default()
        };
        let client = Builder::from_config(config)
            .set_policy(ReconnectPolicy::new_exponential(0, 50, 1000, 2))
            .set_performance_config(PerformanceConfig {
                default_command_timeout: self.timeout,
                ..PerformanceConfig::default()
            })
            .set_connection_config(connection_config())
            .build()
            .map_err(|error| StoreError::Away(error.to_string()))?;
        // The client's tasks outlive the caller: they belong to our runtime, whoever asks.
        let _entered = self.runtime.enter();
        drop(client.connect());
        Ok(client)
    }

    /// Ends a client in the background.
    pub(super) fn disconnect(&self, client: Client) {
        self.runtime.spawn(async move {
            if let Err(error) = client.quit().await {
                tracing::debug!(%error, "a valkey connection did not end well");
            }
        });
    }
}

/// Who we are, and the password as it is now: a client that reconnects after it was changed needs the new one.
#[derive(Debug)]
struct Login {
    username: Option<String>,
    password: Password,
}

impl CredentialProvider for Login {
    fn fetch<'a, 'b, 'c>(
        &'a self,
        _: Option<&'b Server>,
    ) -> Pin<Box<dyn Future<Output = Result<Credentials, Error>> + Send + 'c>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        let Password(read) = &self.password;
        let password = read().map_err(|why| Error::new(ErrorKind::Auth, why));
        Box::pin(std::future::ready(password.map(|password| (self.username.clone(), Some(password)))))
    }
}

/// User and password.
type Credentials = (Option<String>, Option<String>);

fn connection_config() -> ConnectionConfig {
    ConnectionConfig {
        connection_timeout: Duration::from_millis(500),
        internal_command_timeout: Duration::from_millis(500),
        // Once more after a reconnect, and no more: whoever asks has a deadline and another way.
        max_command_attempts: 2,
        max_command_buffer_len: BUFFERED_COMMANDS_MAX,
        reconnect_on_auth_error: true,
        unresponsive: UnresponsiveConfig {
            max_timeout: Some(Duration::from_secs(1)),
            interval: Duration::from_millis(250),
        },
        // CLUSTERDOWN, LOADING, READONLY mean "not now" here; a new connection would not change that.
        reconnect_errors: Vec::new(),
        tcp: fred::types::config::TcpConfig { nodelay: Some(true), ..Default::default() },
        ..ConnectionConfig::default()
    }
}

/// Sends the commands in one go and in order; their replies in the same order.
pub(super) async fn send(
    client: &Client,
    hash_slot: u16,
    commands: &[Command],
    asking: bool,
) -> Result<Vec<Result<Value, Error>>, Error> {
    if asking {
        return send_asking(client, hash_slot, commands).await;
    }
    if let [command] = commands {
        return Ok(vec![send_one(client, hash_slot, command).await]);
    }
    // Not as a pipeline of fred's: that writes each command to the socket alone. What is queued is written together.
    let one = |command| Box::pin(maybe_done(send_one(client, hash_slot, command)));
    let mut sent: Vec<_> = commands.iter().map(one).collect();
    // A command is queued when it is polled first.
    poll_fn(|context| {
        for one in &mut sent {
            _ = one.as_mut().poll(context);
        }
        Poll::Ready(())
    })
    .await;
    join_all(sent.iter_mut().map(Pin::as_mut)).await;
    let missing = || Err(Error::new(ErrorKind::Protocol, "a reply is missing"));
    Ok(sent.iter_mut().map(|one| one.as_mut().take_output().unwrap_or_else(missing)).collect())
}

/// Sends one command. Those that come by the dozen go by fred's own methods: it writes a custom command to the socket
/// at once, and whatever was queued before it.
async fn send_one(client: &Client, hash_slot: u16, command: &Command) -> Result<Value, Error> {
    match (command.name, &command.args[..]) {
        ("SET", [key, value, Value::String(option), Value::String(until)]) if &**option == "PXAT" => {
            let until_ms = until.parse().map_err(|_| Error::new(ErrorKind::InvalidArgument, "no time"))?;
            let key = Key::try_from(key.clone())?;
            client.set(key, value.clone(), Some(Expiration::PXAT(until_ms)), None, false).await
        }
        ("GET", [key]) => client.get(Key::try_from(key.clone())?).await,
        (name, args) => client.custom(custom(name, hash_slot), args.to_vec()).await,
    }
}

fn custom(name: &'static str, hash_slot: u16) -> CustomCommand {
    CustomCommand::new_static(name, ClusterHash::Custom(hash_slot), false)
}

/// Each command behind an `ASKING` of its own.
async fn send_asking(
    client: &Client,
    hash_slot: u16,
    commands: &[Command],
) -> Result<Vec<Result<Value, Error>>, Error> {
    let pipeline = client.pipeline();
    for command in commands {
        let _: () = pipeline.custom(custom("ASKING", hash_slot), Vec::<Value>::new()).await?;
        let _: () = pipeline.custom(custom(command.name, hash_slot), command.args.clone()).await?;
    }
    let replies: Vec<_> = pipeline.try_all::<Value>().await;
    // A pipeline that failed as a whole has one reply for all.
    if replies.len() != 2 * commands.len() {
        let failed = replies.into_iter().find_map(Result::err);
        return Err(failed.unwrap_or_else(|| Error::new(ErrorKind::Protocol, "replies are missing")));
    }
    Ok(replies.into_iter().skip(1).step_by(2).collect())
}

/// What an error asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Advice {
    /// The slot lives elsewhere for good.
    Moved,
    /// This once, ask there: `host`, `port`.
    Ask(String, u16),
    /// The node may be gone: look at the cluster anew.
    Look,
    /// The script is not known there.
    NoScript,
    /// Nothing to be done now.
    Wait,
}

pub(super) fn advice(error: &Error) -> Advice {
    let details = error.details();
    let mut words = details.split(' ');
    match (words.next(), words.nth(1)) {
        (Some("MOVED"), _) => Advice::Moved,
        (Some("ASK"), Some(address)) => match parse_address(address) {
            Some((host, port)) => Advice::Ask(host, port),
            None => Advice::Wait,
        },
        (Some("NOSCRIPT"), _) => Advice::NoScript,
        (Some("READONLY" | "CLUSTERDOWN" | "LOADING" | "MASTERDOWN"), _) => Advice::Look,
        _ => match error.kind() {
            ErrorKind::IO | ErrorKind::Timeout | ErrorKind::Canceled | ErrorKind::Routing => Advice::Look,
            _ => Advice::Wait,
        },
    }
}

/// Reads `host:port`, where the host may be an IPv6 address in brackets.
pub(super) fn parse_address(address: &str) -> Option<(String, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return None;
    }
    Some((host.to_owned(), port.parse().ok()?))
}

fn tls_config(tls: &Tls) -> Result<TlsConfig, SettingsError> {
    let mut roots = RootCertStore::empty();
    match &tls.ca {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| unusable(path, &error))?;
            }
        }
        None => {
            let system = fred::rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(system.certs);
        }
    }
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let config = match (&tls.cert, &tls.key) {
        (Some(cert), Some(key)) => {
            let key_der =
                PrivateKeyDer::from_pem_reader(open(key)?).map_err(|error| unusable(key, &error))?;
            builder
                .with_client_auth_cert(certificates(cert)?, key_der)
                .map_err(|error| unusable(cert, &error))?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(TlsConfig::from(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, SettingsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_reader_iter(open(path)?).collect();
    found.map_err(|error| unusable(path, &error))
}

fn open(path: &Path) -> Result<BufReader<File>, SettingsError> {
    File::open(path).map(BufReader::new).map_err(|error| unusable(path, &error))
}

fn unusable(path: &Path, reason: &dyn std::fmt::Display) -> SettingsError {
    SettingsError::Tls { path: path.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart_by_their_first_word() {
        let of = |kind, text: &'static str| advice(&Error::new(kind, text));
        assert_eq!(of(ErrorKind::Cluster, "MOVED 3999 127.0.0.1:6381"), Advice::Moved);
        assert_eq!(of(ErrorKind::Cluster, "ASK 3999 ::1:6381"), Advice::Ask("::1".to_owned(), 6381));
        assert_eq!(of(ErrorKind::Unknown, "NOSCRIPT No matching script."), Advice::NoScript);
        assert_eq!(of(ErrorKind::Unknown, "OOM command not allowed"), Advice::Wait);
        assert_eq!(of(ErrorKind::Cluster, "TRYAGAIN Multiple keys request"), Advice::Wait);
        assert_eq!(of(ErrorKind::Timeout, "Request timed out."), Advice::Look);
    }
}
