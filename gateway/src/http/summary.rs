//! What is known of a request by the time it is answered: whoever learns something notes it, and the access log and the
//! metrics tell of it. Nothing in it was chosen by the client but how much it sent.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{HeaderValue, Method, Request, Response, Version};

use super::doors::Door;
use super::gate::Entry;
use crate::access::Identity;
use crate::pipeline::Answer;
use crate::problem::Code;
use crate::route::Route;

/// What is known of a request; each part may be absent.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// What was asked for; a call of gRPC has the door whose action is its own.
    pub door: Option<Door>,
    /// The route of its events, or that of a lookup.
    pub route: Option<Arc<Route>>,
    /// Who sent it.
    pub who: Option<Arc<Identity>>,
    /// How many events were in it.
    pub events: Option<usize>,
    /// The bytes of its body, as announced.
    pub announced: Option<usize>,
    /// How long its body was read.
    pub read: Option<Duration>,
    /// The method of `weir.v1.Events` that it calls.
    pub call: Option<&'static str>,
}

impl Summary {
    /// Of a request that came through this door.
    pub fn of(door: Door) -> Self {
        Summary { door: Some(door), ..Summary::default() }
    }

    /// It is a call of this method.
    pub fn calls(&mut self, method: &'static str) -> &mut Self {
        self.call = Some(method);
        self
    }

    /// Its sender was let in.
    pub fn entered(&mut self, entry: &Entry) {
        self.who = Some(Arc::clone(&entry.sender));
        self.route.clone_from(&entry.route);
    }

    /// Its events have ended. Where they found their route by themselves, it is that of the first.
    pub fn settled(&mut self, answer: &Answer) {
        self.events = Some(answer.endings.len());
        if self.route.is_none() {
            self.route = answer.each().find_map(|(share, _)| share).map(|share| Arc::clone(&share.route));
        }
    }
}

/// What the end has to know of a request's head, which is gone by then.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) method: &'static str,
    pub(super) version: Version,
    parent: Option<HeaderValue>,
}

impl Head {
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        let parent = request.headers().get("traceparent").cloned();
        Head { method: method(request.method()), version: request.version(), parent }
    }

    /// The trace that it is part of, as it says.
    pub(super) fn traceparent(&self) -> Option<&str> {
        self.parent.as_ref().and_then(|parent| parent.to_str().ok())
    }
}

/// A method's name, if it is one of HTTP's own: any other is a word of the client's.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::CONNECT => "CONNECT",
        Method::TRACE => "TRACE",
        _ => "_OTHER",
    }
}

/// The code of the problem that a response is.
pub(super) fn code(response: &Response<Body>) -> Option<Code> {
    response.extensions().get().copied()
}
