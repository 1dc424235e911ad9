//! Certificates of clients: whoever's verified certificate has a name that the config knows is whom the config says.
//! Names are compared whole; a `*` in a certificate is a character like any other, and the config has none.

use std::collections::HashMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Identity, Role, Tenant};

/// Whom a certificate speaks for.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateSettings {
    /// The DNS name or URI among the certificate's subject alternative names, e.g. `spiffe://example/shop`.
    pub san: String,
    /// Whose it is.
    #[serde(default)]
    pub tenant: Tenant,
    /// What it may be used for: `write`, `read`, `admin`, `metrics`.
    pub roles: Vec<Role>,
    /// The tenant's routes it is for, by name; absent: all of them.
    #[serde(default)]
    pub routes: Option<Vec<String>>,
}

/// The DNS names and URIs of a certificate that was verified.
#[derive(Debug)]
pub struct Names(Box<[Box<str>]>);

impl Names {
    /// These. DNS names are the same in either case (RFC 4343), and have no `:`, which every URI has.
    pub fn new<'n>(dns: impl Iterator<Item = &'n str>, uris: impl Iterator<Item = &'n str>) -> Self {
        let dns = dns.map(|name| name.to_ascii_lowercase().into());
        Names(dns.chain(uris.filter(|uri| uri.contains(':')).map(Into::into)).collect())
    }
}

/// Those who come with a certificate.
#[derive(Debug)]
pub(super) struct Certificates(HashMap<Box<str>, Arc<Identity>>);

impl Certificates {
    /// Reads the config's, or says what is wrong with them.
    pub(super) fn new(settings: &[CertificateSettings]) -> Result<Self, String> {
        let mut holders = HashMap::new();
        for certificate in settings {
            let san = normal(&certificate.san);
            if san.is_empty() || san.contains('*') {
                return Err(format!("`{san}` cannot be a certificate's name: it is compared whole"));
            }
            if certificate.roles.is_empty() {
                return Err(format!("the certificate `{san}` has no role: it could be used for nothing"));
            }
            let (tenant, routes) = (certificate.tenant.clone(), certificate.routes.as_deref());
            let identity = Identity::new(&san, tenant, &certificate.roles, routes);
            if holders.insert(san.clone(), Arc::new(identity)).is_some() {
                return Err(format!("two certificates have the name `{san}`"));
            }
        }
        Ok(Certificates(holders))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whose certificate this is. One with names of two is nobody's.
    pub(super) fn holder(&self, names: &Names) -> Option<Arc<Identity>> {
        let mut known = names.0.iter().filter_map(|name| self.0.get(name));
        let first = known.next()?;
        known.all(|other| Arc::ptr_eq(first, other)).then(|| Arc::clone(first))
    }
}

/// A name as [`Names`] has it.
fn normal(san: &str) -> Box<str> {
    if san.contains(':') { san.into() } else { san.to_ascii_lowercase().into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(san: &str, tenant: &str, roles: &[Role]) -> CertificateSettings {
        let (san, tenant) = (san.to_owned(), Tenant::new(tenant));
        CertificateSettings { san, tenant, roles: roles.to_vec(), routes: None }
    }

    #[test]
    fn a_certificate_is_whose_name_it_has_whole_and_nobodys_with_two() {
        let known = Certificates::new(&[
            settings("Shop.Example", "shop", &[Role::Write]),
            settings("spiffe://example/other", "other", &[Role::Write]),
        ]);
        let known = known.expect("settings");
        let holder = |dns: &[&str], uris: &[&str]| {
            let names = Names::new(dns.iter().copied(), uris.iter().copied());
            known.holder(&names).map(|holder| holder.name().to_owned())
        };
        let (shop, other) = (Some("shop.example".to_owned()), Some("spiffe://example/other".to_owned()));
        assert_eq!(holder(&["shop.example"], &[]), shop);
        assert_eq!(holder(&["SHOP.example", "else.example", "shop.EXAMPLE"], &["urn:x"]), shop);
        assert_eq!(holder(&[], &["spiffe://example/other"]), other);
        for (dns, uris) in [
            (&["*.example"][..], &[][..]),
            (&["a.shop.example", "shop.example."], &[]),
            (&[], &["shop.example", "spiffe://example/Other", "spiffe://example/other/"]),
            (&["shop.example"], &["spiffe://example/other"]),
            (&[], &[]),
        ] {
            assert_eq!(holder(dns, uris), None, "{dns:?} {uris:?}");
        }
    }

    #[test]
    fn settings_that_cannot_be_meant_are_told() {
        let wrong: [&[CertificateSettings]; 4] = [
            &[settings("*.example", "shop", &[Role::Read])],
            &[settings("", "shop", &[Role::Read])],
            &[settings("shop.example", "shop", &[])],
            &[settings("a.example", "shop", &[Role::Read]), settings("A.example", "other", &[Role::Read])],
        ];
        for settings in wrong {
            assert!(Certificates::new(settings).is_err(), "{settings:?}");
        }
    }
}
