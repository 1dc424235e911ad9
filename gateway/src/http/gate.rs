//! Who comes in: what a request presents becomes an identity, and the identity is asked about before anything is
//! done. It decides nothing itself; [`access`](crate::access) does.

use std::collections::HashMap;
use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderName};

use super::doors::Door;
use crate::access::signature::{Signature, bad_signature};
use crate::access::{Access, Action, Identity, Names, Presented, Resource, Role, Tenant, authorize};
use crate::admission::Quota;
use crate::metrics::Visible;
use crate::pipeline::Shared;
use crate::problem::Problem;
use crate::route::Route;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The gate of both listeners.
#[derive(Debug)]
pub struct Gate {
    access: Arc<Access>,
    shared: Arc<Shared>,
    signed: HashMap<Arc<str>, Arc<Signed>>,
}

/// What a route that takes signed events only knows of its sender.
#[derive(Debug)]
struct Signed {
    signature: Signature,
    sender: Arc<Identity>,
}

/// What tells who asks: the request's headers, and the certificate that its connection began with.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'r> {
    headers: &'r HeaderMap,
    certificate: Option<&'r Names>,
}

impl<'r> Caller<'r> {
    /// Of a request's head, as its connection hands it over.
    pub fn of(head: &'r Parts) -> Self {
        Caller::new(&head.headers, &head.extensions)
    }

    /// The same where its parts are apart.
    pub fn new(headers: &'r HeaderMap, extensions: &'r Extensions) -> Self {
        Caller { headers, certificate: extensions.get::<Arc<Names>>().map(Arc::as_ref) }
    }
}

/// Who may send events, and where to.
#[derive(Debug)]
pub struct Entry {
    /// Who sends them.
    pub sender: Arc<Identity>,
    /// The route that the path names; without one, a CloudEvent finds its own.
    pub route: Option<Arc<Route>>,
    /// Whether the body has to prove it, and how: see [`Gate::verify`].
    signed: Option<Arc<Signed>>,
}

impl Entry {
    /// Whether nothing of the body may be believed before [`Gate::verify`] has seen all of it.
    pub fn is_signed(&self) -> bool {
        self.signed.is_some()
    }
}

impl Gate {
    /// A gate before these routes, some of which take signed events only.
    pub fn new(
        access: Arc<Access>,
        signatures: HashMap<Arc<str>, Signature>,
        shared: Arc<Shared>,
    ) -> Arc<Self> {
        let sender = |route: &Route| {
            let name = format!("signature of {}", route.name);
            let routes = [route.name.to_string()];
            Arc::new(Identity::new(&name, route.tenant.clone(), &[Role::Write], Some(&routes)))
        };
        let signed = signatures.into_iter().filter_map(|(name, signature)| {
            let route = shared.routes.iter().find(|route| route.name == name)?;
            Some((name, Arc::new(Signed { signature, sender: sender(route) })))
        });
        let signed = signed.collect();
        Arc::new(Gate { access, shared, signed })
    }

    /// Lets a request through a door, or says why not. `route` is the path's, if it names one.
    pub fn admit(
        &self,
        door: Door,
        route: Option<&str>,
        caller: Caller<'_>,
    ) -> Result<Arc<Identity>, Problem> {
        if door.action() == Action::Probe || self.access.is_open() {
            return Ok(Access::anyone());
        }
        let resource = if door.names_a_route() { self.resource(route) } else { Resource::Gateway };
        self.let_in(door, &resource, caller)
    }

    /// Lets in who may go through a door to some route, before it is read which. Ask [`Gate::admit_to`] once it is.
    pub fn admit_to_some(&self, door: Door, caller: Caller<'_>) -> Result<Arc<Identity>, Problem> {
        self.let_in(door, &Resource::SomeRoute, caller)
    }

    /// Lets who was let in before go on to this route.
    pub fn admit_to(&self, route: &str, door: Door, who: &Identity) -> Result<(), Problem> {
        // Who may do anything is told of a route that does not exist by whoever looks for it.
        if self.access.is_open() {
            return Ok(());
        }
        self.counted(authorize(who, door.action(), &self.resource(Some(route))))
    }

    fn let_in(
        &self,
        door: Door,
        resource: &Resource<'_>,
        caller: Caller<'_>,
    ) -> Result<Arc<Identity>, Problem> {
        self.counted(self.identify(caller).and_then(|identity| {
            authorize(&identity, door.action(), resource)?;
            Ok(identity)
        }))
    }

    /// The route at a path, as what something is to be done to.
    fn resource(&self, path: Option<&str>) -> Resource<'_> {
        let found = path.and_then(|path| self.shared.routes.at_path(path));
        found.map_or(Resource::NoRoute, |route| route.resource())
    }

    /// Lets events in to the route that the path names, or to whichever of the sender's takes them.
    pub fn enter(&self, route: Option<&str>, caller: Caller<'_>) -> Result<Entry, Problem> {
        let found = route.and_then(|path| self.shared.routes.at_path(path));
        let resource = match (route, found) {
            (Some(_), Some(route)) => route.resource(),
            (Some(_), None) => Resource::NoRoute,
            (None, _) => Resource::SomeRoute,
        };
        if let Some(signed) = found.and_then(|route| self.signed.get(&route.name)) {
            let sender = Arc::clone(&signed.sender);
            let presented = signed.presented(caller.headers);
            self.counted(presented.and_then(|_| self.access.confirm(&sender, caller.certificate)))?;
            return Ok(Entry { sender, route: found.cloned(), signed: Some(Arc::clone(signed)) });
        }
        let door = if route.is_some() { Door::PostEvents } else { Door::PostCloudEvent };
        self.counted(self.identify(caller).and_then(|sender| {
            authorize(&sender, door.action(), &resource)?;
            Ok(Entry { sender, route: found.cloned(), signed: None })
        }))
    }

    /// What its sender's tenant may send, if that is limited. Where nobody is asked who they are it is the route's
    /// tenant, once there is a route.
    pub fn quota(&self, entry: &Entry) -> Option<&Arc<Quota>> {
        let owner = || entry.route.as_deref().map(|route| &route.tenant);
        self.shared.throttle.of(entry.sender.tenant().or_else(owner)?)
    }

    /// What of the metrics somebody is shown; `None`: all of them.
    pub(super) fn visible<'g>(&'g self, identity: &'g Identity) -> Option<Visible<'g>> {
        if identity.owns_the_gateway() {
            return None;
        }
        let own = |route: &&Route| authorize(identity, Action::Scrape, &route.resource()).is_ok();
        let own = || self.shared.routes.iter().map(Arc::as_ref).filter(own);
        let topics = |route: &'g Route| {
            [&route.topic, &route.dead_letter_topic].into_iter().chain(&route.topics_allowed)
        };
        Some(Visible {
            tenant: identity.tenant().map(Tenant::name),
            routes: own().map(|route| &*route.name).collect(),
            topics: own().flat_map(topics).map(|topic| &**topic).collect(),
        })
    }

    /// The route of a path's last part, whoever asks.
    pub fn route(&self, path: &str) -> Option<&Arc<Route>> {
        self.shared.routes.at_path(path)
    }

    /// Has a body prove who sent it, where its route asks for that. `body` is what was sent, byte for byte.
    pub fn verify(&self, entry: &Entry, headers: &HeaderMap, body: &[u8]) -> Result<(), Problem> {
        let Some(signed) = &entry.signed else { return Ok(()) };
        let now_s = jiff::Timestamp::now().as_second();
        let verified =
            signed.presented(headers).and_then(|value| signed.signature.verify(value, body, now_s));
        self.counted(verified)
    }

    fn identify(&self, caller: Caller<'_>) -> Result<Arc<Identity>, Problem> {
        if self.access.is_open() {
            return Ok(Access::anyone());
        }
        let Caller { headers, certificate } = caller;
        self.access.identify(Presented { credential: credential(headers), certificate })
    }

    fn counted<T>(&self, admitted: Result<T, Problem>) -> Result<T, Problem> {
        if let Err(problem) = &admitted {
            self.access.refused(problem.code);
        }
        admitted
    }
}

impl Signed {
    /// What is presented as the signature: one header, or it is none.
    fn presented<'h>(&self, headers: &'h HeaderMap) -> Result<&'h [u8], Problem> {
        let mut values = headers.get_all(self.signature.header()).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => Ok(value.as_bytes()),
            _ => Err(bad_signature()),
        }
    }
}

/// The one credential of a request, if it has any; empty if it has more than one, or another scheme's.
fn credential(headers: &HeaderMap) -> Option<&[u8]> {
    let (mut bearers, mut keys) = (headers.get_all(AUTHORIZATION).iter(), headers.get_all(X_API_KEY).iter());
    Some(match (bearers.next(), keys.next(), bearers.next().or(keys.next())) {
        (None, None, _) => return None,
        (Some(value), None, None) => match value.as_bytes().split_at_checked(BEARER.len()) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case(BEARER) => token.trim_ascii(),
            _ => &[],
        },
        (None, Some(value), None) => value.as_bytes(),
        _ => &[],
    })
}

const BEARER: &[u8] = b"bearer ";

/// Takes away what nobody behind the gate is to see.
pub(crate) fn without_credentials(headers: &mut HeaderMap) {
    headers.remove(AUTHORIZATION);
    headers.remove(X_API_KEY);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_one_credential_or_none() {
        type Case = (&'static [(&'static str, &'static str)], Option<&'static str>);
        let cases: [Case; 9] = [
            (&[("authorization", "Bearer weir_a_b")], Some("weir_a_b")),
            (&[("authorization", "bearer  weir_a_b ")], Some("weir_a_b")),
            (&[("x-api-key", "weir_a_b")], Some("weir_a_b")),
            (&[], None),
            (&[("authorization", "Basic d2Vpcg==")], Some("")),
            (&[("authorization", "Bearer")], Some("")),
            (&[("authorization", "Bearer a"), ("authorization", "Bearer b")], Some("")),
            (&[("authorization", "Bearer a"), ("x-api-key", "a")], Some("")),
            (&[("x-api-key", "a"), ("x-api-key", "b")], Some("")),
        ];
        for (given, expected) in cases {
            let mut headers = HeaderMap::new();
            for (name, value) in given {
                headers.append(*name, value.parse().expect("a value"));
            }
            assert_eq!(credential(&headers), expected.map(str::as_bytes), "{given:?}");
        }
    }
}
