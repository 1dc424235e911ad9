//! The audit log: who gave which order to this gateway, from where, and what came of it. One line each, whatever the
//! level of the log, also for orders that were refused. Paths are told without their query: it may name a customer.

use std::net::SocketAddr;

use axum::extract::Request;

use super::doors::Door;
use crate::access::{Action, Identity};

/// Where a request came from, in its extensions.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// What somebody wants this gateway to change.
#[derive(Debug)]
pub(super) struct Order {
    door: Door,
    path: String,
    from: Option<SocketAddr>,
}

impl Order {
    /// That of a request through this door, if it is one.
    pub(super) fn of(door: Door, request: &Request) -> Option<Self> {
        let orders = door.action() == Action::Operate && door.method() != http::Method::GET;
        orders.then(|| Order {
            door,
            path: request.uri().path().to_owned(),
            from: request.extensions().get::<Peer>().map(|peer| peer.0),
        })
    }

    /// Tells of it. Nobody's name is known who was not let in.
    pub(super) fn log(&self, who: Option<&Identity>, status: u16) {
        let Order { door, path, from } = self;
        let from = from.map_or_else(|| "unknown".to_owned(), |from| from.to_string());
        let who = who.map_or("nobody known", Identity::name);
        tracing::info!(target: TARGET, %who, action = ?door, %path, %from, status, "order");
    }
}

/// Written whatever the level of the log (`telemetry`).
const TARGET: &str = "audit";
