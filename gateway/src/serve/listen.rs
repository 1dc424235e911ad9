//! The admin listener and the signals, beside the workers.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal as receive};
use tokio::sync::watch;
use tower::ServiceExt as _;

use crate::http::audit::Peer;
use crate::http::tls::Tls;
use crate::http::{Limits, connection};

const ACCEPT_RETRY: Duration = Duration::from_millis(20);

/// Serves the admin paths until it is aborted: readiness must answer until the very end.
pub(super) async fn admin(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    router: Rc<RefCell<Router>>,
    limits: Limits,
) {
    let (_leave, stays) = watch::channel(false);
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: that is when health must not go silent for good.
                tracing::warn!(%error, "the admin listener cannot accept");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let router = Rc::clone(&router);
        let answer = move |mut request: http::Request<hyper::body::Incoming>| {
            let router = router.borrow().clone();
            request.extensions_mut().insert(Peer(peer));
            async move {
                let Ok(response) = router.oneshot(request.map(Body::new)).await;
                Ok::<_, Infallible>(response)
            }
        };
        drop(tokio::task::spawn_local(connection::serve(stream, tls.clone(), answer, limits, stays.clone())));
    }
}

/// Waits for SIGTERM or SIGINT; a second one ends the process at once.
pub(super) async fn signal() -> io::Result<&'static str> {
    let (mut terminate, mut interrupt) =
        (receive(SignalKind::terminate())?, receive(SignalKind::interrupt())?);
    let name = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    drop(tokio::task::spawn_local(async move {
        tokio::select! {
            _ = terminate.recv() => (),
            _ = interrupt.recv() => (),
        }
        tracing::warn!("second signal: what is not acknowledged yet is given up");
        std::process::exit(1);
    }));
    Ok(name)
}
