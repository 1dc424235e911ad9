//! Whether everyone who can reach a listener is meant to, and whether the keys can be used.

use std::net::SocketAddr;

use crate::http::tls::Settings;

use super::{Config, Finding, NAME_RULE, is_name};

pub(super) fn check(config: &Config, findings: &mut Vec<Finding>) {
    let access = &config.access;
    if let Err(why) = access.check() {
        findings.push(Finding::error("access/keys", why));
    }
    if let Err(why) = access.check_certificates() {
        findings.push(Finding::error("access/certificates", why));
    }
    tls(config, findings);
    if let Some(fault) = access.jwt.as_ref().and_then(|jwt| jwt.fault()) {
        findings.push(Finding::error("access/jwt", fault));
    }
    if access.open && access.asks() {
        let message = "`open` lets anyone in, and the keys beside it say otherwise";
        findings.push(Finding::error("access/open", message).help("leave out one of the two"));
    }
    listener("listen", config.listen, "sends and reads events", config, findings);
    listener("admin", config.admin, "runs code in the gateway", config, findings);
    for (index, route) in config.routes.iter().enumerate() {
        tenant(&format!("routes/{index}/tenant"), route.tenant.name(), findings);
        let Some(signature) = &route.signature else { continue };
        if let Some(fault) = signature.fault() {
            findings.push(Finding::error(format!("routes/{index}/signature"), fault));
        }
        if route.matching.event_type.is_some() || route.matching.source.is_some() {
            let message = "events sent to /v1/events do not find this route: it takes signed ones only, at its own path";
            findings.push(Finding::warning(format!("routes/{index}/match"), message));
        }
    }
    for (index, certificate) in access.certificates.iter().enumerate() {
        tenant(&format!("access/certificates/{index}/tenant"), certificate.tenant.name(), findings);
    }
    for (index, key) in access.keys.iter().enumerate() {
        tenant(&format!("access/keys/{index}/tenant"), key.tenant.name(), findings);
        for (place, route) in key.routes.iter().flatten().enumerate() {
            if !config.routes.iter().any(|known| known.name == *route && known.tenant == key.tenant) {
                let message = format!("the tenant `{}` has no route `{route}`", key.tenant.name());
                findings.push(Finding::warning(format!("access/keys/{index}/routes/{place}"), message));
            }
        }
    }
}

fn listener(key: &str, address: SocketAddr, anyone: &str, config: &Config, findings: &mut Vec<Finding>) {
    if address.ip().is_loopback() || config.access.asks() {
        return;
    }
    let message =
        format!("{address} can be reached from outside, and nobody is asked who they are: anyone {anyone}");
    findings.push(if config.access.open {
        Finding::warning(key, message)
    } else {
        Finding::error(key, message).help(
            "run `weir keys new` and put the stanza it prints under `access.keys`, or name a file of such stanzas in \
             `access.keys_file`, or name an identity provider in `access.jwt`; or listen on 127.0.0.1; or, if anyone may, write `access: {open: true}`",
        )
    });
}

/// Whether certificates are asked for where they are to be known, and traffic is hidden where others see it.
fn tls(config: &Config, findings: &mut Vec<Finding>) {
    let listeners = [
        ("listen", "tls", config.listen, &config.tls),
        ("admin", "admin_tls", config.admin, &config.admin_tls),
    ];
    for (key, section, address, settings) in listeners {
        match settings {
            Some(settings) => {
                findings.extend(settings.fault().map(|fault| Finding::error(section, fault)));
            }
            None if !address.ip().is_loopback() => {
                let message = format!("{address} can be reached from outside, and without TLS");
                findings.push(Finding::warning(key, message).help(format!(
                    "whoever is on the way reads keys and events: write `{section}`, or end TLS in front of the gateway"
                )));
            }
            None => {}
        }
    }
    let asks = |settings: &Option<Settings>| settings.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    if !config.access.certificates.is_empty() && !asks(&config.tls) && !asks(&config.admin_tls) {
        let message = "no listener asks a client for its certificate";
        let finding = Finding::error("access/certificates", message);
        findings.push(finding.help("write `client_ca` and `client_auth` under `tls`"));
    }
}

fn tenant(path: &str, name: &str, findings: &mut Vec<Finding>) {
    if !is_name(name) {
        findings.push(Finding::error(path, format!("`{name}` cannot name a tenant")).help(NAME_RULE));
    }
}
