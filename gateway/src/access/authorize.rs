//! The one decision: may this identity do this to that? Pure; every edge asks it and none decides beside it.

use std::borrow::Cow;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::problem::{Code, Problem};

/// Whose a route is, and whom a credential speaks for. It comes from the config alone, never from a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Tenant(Arc<str>);

impl Tenant {
    /// A tenant of this name.
    pub fn new(name: &str) -> Self {
        Tenant(name.into())
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Whether it is the one that the gateway itself belongs to.
    fn owns_the_gateway(&self) -> bool {
        *self.0 == *DEFAULT
    }
}

/// The tenant of whatever names none; the gateway itself is its.
const DEFAULT: &str = "default";

impl Default for Tenant {
    fn default() -> Self {
        Tenant::new(DEFAULT)
    }
}

/// What a credential may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// To send events.
    Write,
    /// To look events up, and to follow them.
    Read,
    /// To operate: erase, rebuild; and, for the tenant `default`, plugins and all that is the gateway's as a whole.
    Admin,
    /// To scrape metrics.
    Metrics,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Ask whether the gateway lives, or what it takes. Nobody is asked who they are.
    Probe,
    /// Scrape metrics: of the routes that are one's own, or of all for who owns the gateway.
    Scrape,
    /// Send events.
    Ingest,
    /// Look events up, or follow them.
    Lookup,
    /// Change what the gateway does or shows, or look at it as its operator.
    Operate,
}

/// What it is to be done to.
#[derive(Clone, Copy, Debug)]
pub enum Resource<'a> {
    /// A route: whose it is, and its name.
    Route(&'a Tenant, &'a str),
    /// A route that does not exist.
    NoRoute,
    /// Some route that is only known once events are read; each that comes into question is asked about then.
    SomeRoute,
    /// The gateway as a whole.
    Gateway,
}

/// Who asks.
#[derive(Debug)]
pub struct Identity {
    name: Box<str>,
    rights: Rights,
}

#[derive(Debug)]
enum Rights {
    /// Nobody was asked who they are.
    All,
    Some {
        tenant: Tenant,
        roles: Box<[Role]>,
        /// By name; `None`: all of the tenant's.
        routes: Option<Box<[Box<str>]>>,
    },
}

impl Identity {
    /// One of a tenant, with these roles, over all of its routes or only those named.
    pub fn new(name: &str, tenant: Tenant, roles: &[Role], routes: Option<&[String]>) -> Self {
        let routes = routes.map(|routes| routes.iter().map(|route| route.as_str().into()).collect());
        Identity { name: name.into(), rights: Rights::Some { tenant, roles: roles.into(), routes } }
    }

    pub(super) fn anyone() -> Self {
        Identity { name: "anyone".into(), rights: Rights::All }
    }

    /// Whether both speak for the same tenant.
    pub(super) fn is_of_the_tenant_of(&self, other: &Identity) -> bool {
        match (&self.rights, &other.rights) {
            (Rights::Some { tenant, .. }, Rights::Some { tenant: others, .. }) => tenant == others,
            _ => true,
        }
    }

    /// Whom it speaks for; `None` where nobody was asked.
    pub fn tenant(&self) -> Option<&Tenant> {
        match &self.rights {
            Rights::All => None,
            Rights::Some { tenant, .. } => Some(tenant),
        }
    }

    /// Whether all of the gateway is its business, and not only its routes.
    pub fn owns_the_gateway(&self) -> bool {
        match &self.rights {
            Rights::All => true,
            Rights::Some { tenant, routes, .. } => tenant.owns_the_gateway() && routes.is_none(),
        }
    }

    /// What it is called, for people: a key's id, a token's subject.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Whether `identity` may do this. Another tenant's route is answered as one that does not exist.
pub fn authorize(identity: &Identity, action: Action, resource: &Resource<'_>) -> Result<(), Problem> {
    let Rights::Some { tenant, roles, routes } = &identity.rights else {
        return if matches!(resource, Resource::NoRoute) { Err(unknown_route()) } else { Ok(()) };
    };
    match resource {
        Resource::NoRoute => return Err(unknown_route()),
        Resource::Route(owner, name) => {
            let named = routes.as_ref().is_none_or(|routes| routes.iter().any(|route| **route == **name));
            if *owner != tenant || !named {
                return Err(unknown_route());
            }
        }
        // Of the metrics each is shown its own; see `Identity::owns_the_gateway`.
        Resource::Gateway
            if !matches!(action, Action::Probe | Action::Scrape) && !identity.owns_the_gateway() =>
        {
            return Err(not_permitted(
                "this belongs to the gateway as a whole: use a key of the tenant `default`",
            ));
        }
        Resource::Gateway | Resource::SomeRoute => {}
    }
    let (sufficient, detail): (&[Role], &'static str) = match action {
        Action::Probe => return Ok(()),
        Action::Scrape => (&[Role::Metrics, Role::Admin], "this takes the role `metrics` or `admin`"),
        Action::Ingest => (&[Role::Write], "this takes the role `write`"),
        Action::Lookup => (&[Role::Read], "this takes the role `read`"),
        Action::Operate => (&[Role::Admin], "this takes the role `admin`"),
    };
    if roles.iter().any(|role| sufficient.contains(role)) { Ok(()) } else { Err(not_permitted(detail)) }
}

/// The one answer to a route that does not exist, or not for whoever asks.
fn unknown_route() -> Problem {
    Problem::new(Code::UnknownRoute, "no route has this path; the operator's config lists them")
}

fn not_permitted(detail: impl Into<Cow<'static, str>>) -> Problem {
    Problem::new(Code::NotPermitted, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(identity: &Identity, action: Action, resource: &Resource<'_>) -> Option<Code> {
        authorize(identity, action, resource).err().map(|problem| problem.code)
    }

    #[test]
    fn a_tenant_does_with_its_own_routes_what_its_roles_say() {
        let (shop, other) = (Tenant::new("shop"), Tenant::new("other"));
        let (own, foreign) = (Resource::Route(&shop, "orders"), Resource::Route(&other, "visits"));
        let actions = [
            (Action::Ingest, Role::Write),
            (Action::Lookup, Role::Read),
            (Action::Operate, Role::Admin),
            (Action::Scrape, Role::Metrics),
        ];
        for (action, role) in actions {
            for (_, held) in actions {
                let identity = Identity::new("k", shop.clone(), &[held], None);
                let enough = held == role || (action, held) == (Action::Scrape, Role::Admin);
                let expected = (!enough).then_some(Code::NotPermitted);
                assert_eq!(code(&identity, action, &own), expected, "{action:?} {held:?}");
                assert_eq!(code(&identity, action, &foreign), Some(Code::UnknownRoute));
                assert_eq!(code(&identity, action, &Resource::NoRoute), Some(Code::UnknownRoute));
                let shown = enough && action == Action::Scrape;
                let expected = (!shown).then_some(Code::NotPermitted);
                assert_eq!(code(&identity, action, &Resource::Gateway), expected, "{action:?} {held:?}");
                assert!(!identity.owns_the_gateway());
            }
        }
    }

    #[test]
    fn another_tenants_route_is_answered_word_for_word_like_none() {
        let (shop, other) = (Tenant::new("shop"), Tenant::new("other"));
        let key = Identity::new("k", shop, &[Role::Write, Role::Read, Role::Admin], None);
        let foreign = authorize(&key, Action::Ingest, &Resource::Route(&other, "visits")).unwrap_err();
        assert_eq!(foreign, authorize(&key, Action::Ingest, &Resource::NoRoute).unwrap_err());
    }

    #[test]
    fn a_key_for_some_routes_has_no_others_and_not_the_gateway() {
        let tenant = Tenant::default();
        let routes = ["orders".to_owned()];
        let key = Identity::new("k", tenant.clone(), &[Role::Write, Role::Admin], Some(&routes));
        assert_eq!(code(&key, Action::Ingest, &Resource::Route(&tenant, "orders")), None);
        assert_eq!(code(&key, Action::Ingest, &Resource::Route(&tenant, "order")), Some(Code::UnknownRoute));
        assert_eq!(code(&key, Action::Operate, &Resource::Gateway), Some(Code::NotPermitted));
        let whole = Identity::new("k", tenant, &[Role::Admin], None);
        assert!(whole.owns_the_gateway() && !key.owns_the_gateway());
        assert_eq!(code(&whole, Action::Operate, &Resource::Gateway), None);
        assert_eq!(code(&whole, Action::Ingest, &Resource::SomeRoute), Some(Code::NotPermitted));
    }

    #[test]
    fn where_nobody_is_asked_all_is_allowed_that_exists() {
        let anyone = Identity::anyone();
        for action in [Action::Probe, Action::Scrape, Action::Ingest, Action::Lookup, Action::Operate] {
            assert_eq!(code(&anyone, action, &Resource::Gateway), None);
            assert_eq!(code(&anyone, action, &Resource::Route(&Tenant::new("x"), "y")), None);
            assert_eq!(code(&anyone, action, &Resource::NoRoute), Some(Code::UnknownRoute));
        }
    }
}
