//! The audit log: who gave which order to this gateway, from where, and what came of it. One line each, whatever the
//! level of the log, also for orders that were refused. Paths are told without their query: it may name a customer.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use tokio::task::{JoinError, spawn_blocking};

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

    /// Has it carried out and tells of it, also when whoever gave it does not wait for the answer any more. Nobody's name
    /// is known who was not let in.
    ///
    /// # Errors
    /// It panicked, or the gateway ended meanwhile.
    pub(super) async fn carry_out(
        self,
        who: Option<Arc<Identity>>,
        work: impl Future<Output = Response> + Send + 'static,
    ) -> Result<Response, JoinError> {
        let told = async move {
            let response = work.await;
            let status = response.status().as_u16();
            // The log may make an order wait; its thread must not wait along.
            spawn_blocking(move || self.log(who.as_deref(), status)).await?;
            Ok(response)
        };
        tokio::spawn(told).await?
    }

    fn log(&self, who: Option<&Identity>, status: u16) {
        let Order { door, path, from } = self;
        let from = from.map_or_else(|| "unknown".to_owned(), |from| from.to_string());
        let who = who.map_or("nobody known", Identity::name);
        tracing::info!(target: TARGET, %who, action = ?door, %path, %from, status, "order");
    }
}

/// Written whatever the level of the log (`telemetry`).
const TARGET: &str = "audit";
