//! A running gateway, over its admin listener: how it is reached, and what it answers. Shared by the commands that ask one.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::HeaderValue;
use http::header::AUTHORIZATION;
use serde_json::Value;
use ureq::SendBody;
use ureq::middleware::MiddlewareNext;
use ureq::tls::{PemItem, RootCerts, TlsConfig};

use super::{Failure, Output, print};

/// An order may wait for Kafka's acknowledgement, or for plugins that are compiled.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Flags of the commands that ask a running gateway.
#[derive(Debug, Args)]
pub struct AdminArgs {
    /// The admin listener of a running gateway; `https://…` if it has TLS.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090", global = true)]
    pub admin: String,
    /// The authority of its certificate, a PEM file; absent: those that everyone knows.
    #[arg(long, value_name = "FILE", global = true)]
    pub admin_ca: Option<PathBuf>,
    /// A key with the role `admin`, for a gateway that asks for one; better in the environment, where no other user
    /// of the machine sees it.
    #[arg(long, value_name = "KEY", env = "WEIR_ADMIN_KEY", hide_env_values = true, global = true)]
    pub admin_key: Option<String>,
    /// How to print the answer.
    #[arg(short, long, value_enum, default_value_t, global = true)]
    pub output: Output,
}

/// A gateway to ask.
pub(super) struct Gateway {
    /// Shows the key with all that it asks.
    pub(super) agent: ureq::Agent,
    address: String,
    output: Output,
}

impl AdminArgs {
    /// The gateway that the flags mean; it is not asked yet.
    pub(super) fn gateway(&self) -> Result<Gateway, Failure> {
        let address = match self.admin.split_once("://") {
            Some(_) => self.admin.trim_end_matches('/').to_owned(),
            None => format!("http://{}", self.admin),
        };
        let agent = agent(self.admin_key.as_deref(), self.admin_ca.as_deref())?;
        Ok(Gateway { agent, address, output: self.output })
    }
}

impl Gateway {
    /// The address of a path below `/admin/v1`.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}/admin/v1{path}", self.address)
    }

    /// Prints what it answered, for people by way of `text`; a problem is a failure.
    pub(super) fn tell(
        &self,
        answer: Result<http::Response<ureq::Body>, ureq::Error>,
        text: impl FnOnce(&Value) -> String,
    ) -> Result<ExitCode, Failure> {
        let address = &self.address;
        let mut answer = answer.map_err(|error| {
            let hint = "is a gateway running there? --admin names its admin listener";
            Failure::Other(format!("{address}: {error}; {hint}"))
        })?;
        let good = answer.status().is_success();
        let json: Value = answer
            .body_mut()
            .read_json()
            .map_err(|error| Failure::Other(format!("{address}: no gateway's answer: {error}")))?;
        if !good {
            let text = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
            return Err(Failure::Other(format!("{}: {}", text("code"), text("detail"))));
        }
        match self.output {
            Output::Json => print(&format!("{json:#}\n"))?,
            Output::Text => print(&text(&json))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A client that shows the key with all that it asks.
fn agent(key: Option<&str>, authority: Option<&Path>) -> Result<ureq::Agent, Failure> {
    let config = ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).http_status_as_error(false);
    let config = match authority {
        Some(path) => config.tls_config(TlsConfig::builder().root_certs(trusted(path)?).build()),
        None => config,
    };
    let Some(key) = key else { return Ok(config.build().into()) };
    let unusable =
        |_| Failure::Config("the admin key is no key: it has characters that no key has".to_owned());
    let bearer = HeaderValue::try_from(format!("Bearer {key}")).map_err(unusable)?;
    let show = move |mut request: http::Request<SendBody<'_>>, next: MiddlewareNext<'_>| {
        request.headers_mut().insert(AUTHORIZATION, bearer.clone());
        next.handle(request)
    };
    Ok(config.middleware(show).build().into())
}

/// The authorities of a file.
fn trusted(path: &Path) -> Result<RootCerts, Failure> {
    let unusable = |why: &dyn std::fmt::Display| Failure::Config(format!("{}: {why}", path.display()));
    let text = std::fs::read(path).map_err(|error| unusable(&error))?;
    let certificates: Vec<_> = ureq::tls::parse_pem(&text)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() { Err(unusable(&"no certificate in PEM")) } else { Ok(certificates.into()) }
}
