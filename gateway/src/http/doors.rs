//! The one table of paths: every way in over HTTP, on which listener, and what is done through it. A path without a
//! row here cannot be served: [`Doors`] is the only way to a router, and it puts the gate before each handler.

use std::future::ready;
use std::panic::resume_unwind;
use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::handler::Handler;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{MethodFilter, on};
use futures_util::future::Either;

use super::audit::Order;
use super::gate::{Caller, Gate};
use super::reply;
use super::summary::Summary;
use crate::access::Action;

/// Which address a door is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// Events and lookups.
    Public,
    /// Operators, probes and scrapers.
    Admin,
}

/// One row per door: listener, method, path, action.
macro_rules! doors {
    ($($(#[$doc:meta])* $door:ident $listener:ident $method:ident $path:literal $action:ident;)*) => {
        /// A way in.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Door { $($(#[$doc])* $door,)* }

        impl Door {
            /// Every door.
            pub const ALL: &'static [Door] = &[$(Door::$door,)*];
            /// Where it is.
            pub fn listener(self) -> Listener { match self { $(Door::$door => Listener::$listener,)* } }
            /// The method it takes.
            pub fn method(self) -> http::Method { match self { $(Door::$door => http::Method::$method,)* } }
            /// Its path, with `{route}` where a route's is.
            pub fn path(self) -> &'static str { match self { $(Door::$door => $path,)* } }
            /// What is done through it.
            pub fn action(self) -> Action { match self { $(Door::$door => Action::$action,)* } }
            fn filter(self) -> MethodFilter { match self { $(Door::$door => MethodFilter::$method,)* } }
        }
    };
}

doors! {
    /// A CloudEvent, whose route is found in it.
    PostCloudEvent Public POST "/v1/events" Ingest;
    /// Events of a route.
    PostEvents Public POST "/v1/events/{route}" Ingest;
    /// What may be sent as a CloudEvent, and from where.
    AskCloudEvent Public OPTIONS "/v1/events" Probe;
    /// What may be sent to a route, and from where.
    AskEvents Public OPTIONS "/v1/events/{route}" Probe;
    /// The latest events of a key, or those to come.
    GetEvents Public GET "/v1/events/{route}" Lookup;
    /// One event by its id.
    GetEventById Public GET "/v1/events/{route}/{id}" Lookup;
    /// One event by its position.
    GetEventAt Public GET "/v1/events/{route}/at/{partition}/{offset}" Lookup;
    /// The description of this listener.
    OpenApi Public GET "/openapi.json" Probe;
    /// The same for people.
    Docs Public GET "/docs" Probe;
    /// What shows it.
    DocsViewer Public GET "/docs/rapidoc-min.js" Probe;
    /// Alive?
    Live Admin GET "/livez" Probe;
    /// Ready?
    Ready Admin GET "/readyz" Probe;
    /// What is counted and measured.
    Metrics Admin GET "/metrics" Scrape;
    /// The config read again.
    Reload Admin POST "/admin/v1/reload" Operate;
    /// The plugins and their versions.
    ListPlugins Admin GET "/admin/v1/plugins" Operate;
    /// Another version in.
    AddVersion Admin POST "/admin/v1/plugins/{plugin}/versions" Operate;
    /// Another version in force.
    ActivateVersion Admin POST "/admin/v1/plugins/{plugin}/activate" Operate;
    /// The version before in force again.
    RollBackVersion Admin POST "/admin/v1/plugins/{plugin}/rollback" Operate;
    /// A version in the shadow.
    BeginShadow Admin POST "/admin/v1/plugins/{plugin}/shadow" Operate;
    /// None in the shadow any more.
    EndShadow Admin DELETE "/admin/v1/plugins/{plugin}/shadow" Operate;
    /// Where the read model stands.
    RecentStatus Admin GET "/admin/v1/recent" Operate;
    /// What is hidden of a route.
    ListInvalidations Admin GET "/admin/v1/recent/{route}" Operate;
    /// Hide this.
    Invalidate Admin DELETE "/admin/v1/recent/{route}" Operate;
    /// Read the window anew.
    Rebuild Admin POST "/admin/v1/recent/{route}/rebuild" Operate;
}

impl Door {
    /// The door at a path of the table, for a method.
    pub fn at(listener: Listener, method: &http::Method, path: &str) -> Option<Door> {
        let is_it =
            |door: &Door| door.path() == path && door.listener() == listener && door.method() == *method;
        Door::ALL.iter().copied().find(is_it)
    }

    /// Whether its path names a route.
    pub fn names_a_route(self) -> bool {
        self.path().contains("{route}")
    }
}

/// A router in the making, with the gate before every handler.
#[derive(Debug)]
pub struct Doors<S = ()> {
    gate: Arc<Gate>,
    router: Router<S>,
}

impl<S: Clone + Send + Sync + 'static> Doors<S> {
    /// No door yet.
    pub fn new(gate: &Arc<Gate>) -> Self {
        Doors { gate: Arc::clone(gate), router: Router::new() }
    }

    /// Has `handler` answer those whom the gate lets through this door.
    #[expect(clippy::disallowed_methods, reason = "this is the way to a router that the ban leaves")]
    pub fn open<H: Handler<T, S>, T: 'static>(mut self, door: Door, handler: H) -> Self {
        let guarded = middleware::from_fn_with_state((Arc::clone(&self.gate), door), guard);
        self.router = self.router.route(door.path(), on(door.filter(), handler).route_layer(guarded));
        self
    }

    /// The router.
    pub fn with_state(self, state: S) -> Router {
        self.router.with_state(state)
    }
}

/// Asks the gate before anything of the request's body is read. The route is the one the handler will see.
async fn guard(
    State((gate, door)): State<(Arc<Gate>, Door)>,
    parameters: Result<RawPathParams, RawPathParamsRejection>,
    mut request: Request,
    next: Next,
) -> Response {
    let parameters = parameters.ok();
    let mut parameters = parameters.iter().flatten();
    let route = parameters.find_map(|(name, value)| (name == "route").then_some(value));
    let admitted = gate.admit(door, route, Caller::new(request.headers(), request.extensions()));
    let route = route.and_then(|path| gate.route(path)).cloned();
    let order = Order::of(door, &request);
    let (who, answering) = match admitted {
        Ok(identity) => {
            if door.action() == Action::Scrape {
                // What is shown depends on who looks.
                request.extensions_mut().insert(Arc::clone(&identity));
            }
            (Some(identity), Either::Left(next.run(request)))
        }
        Err(problem) => (None, Either::Right(ready(reply::problem(&problem)))),
    };
    let mut response = match order {
        Some(order) => {
            let done = Box::pin(order.carry_out(who.clone(), answering)).await;
            done.unwrap_or_else(|error| resume_unwind(Box::new(error)))
        }
        None => answering.await,
    };
    response.extensions_mut().insert(Summary { route, who, ..Summary::of(door) });
    response
}
