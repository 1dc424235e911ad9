//! What gRPC tools ask of any server: whether it is ready, and what it offers. The messages and their server are tonic's, the
//! bounds ours.

use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use futures_util::{Stream, StreamExt as _, stream};
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyStream, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tonic::{Code, Status, async_trait};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::server::Builder;
use tower::ServiceExt as _;

use super::{Ready, api, reply};
use crate::http::lasting::Lasting;

/// Requests to these services are names.
const MESSAGE_BYTES_MAX: usize = 16 << 10;
/// How soon whoever watches hears of a change.
const LOOK_PAUSE: Duration = Duration::from_millis(500);

/// The services beside our own.
pub(super) fn router(ready: Ready) -> Router {
    let mut services = Router::new()
        .fallback(|| async { Status::unimplemented("reflection lists what there is").into_http::<Body>() });
    let health = HealthServer::new(Readiness(ready)).max_decoding_message_size(MESSAGE_BYTES_MAX);
    services = services.route_service("/grpc.health.v1.Health/{method}", health);
    match reflections(services.clone()) {
        Ok(all) => all,
        Err(error) => {
            tracing::error!(%error, "there is no gRPC reflection");
            services
        }
    }
}

/// Fails only if our own description cannot be read.
fn reflections(services: Router) -> Result<Router, tonic_reflection::server::Error> {
    let reflection = || {
        Builder::configure()
            .register_encoded_file_descriptor_set(api::DESCRIPTION)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let v1 = reflection().build_v1()?.max_decoding_message_size(MESSAGE_BYTES_MAX);
    let v1alpha = reflection().build_v1alpha()?.max_decoding_message_size(MESSAGE_BYTES_MAX);
    Ok(services
        .route_service("/grpc.reflection.v1.ServerReflection/{method}", v1)
        .route_service("/grpc.reflection.v1alpha.ServerReflection/{method}", v1alpha))
}

/// Answers a call of one of these services. Its streams end when the gateway stops.
pub(super) async fn answer(
    services: Router,
    stopping: watch::Receiver<bool>,
    request: Request<Incoming>,
) -> Response<Body> {
    let Ok(mut response) = services.oneshot(request.map(Body::new)).await;
    let headers = response.headers_mut();
    // What tonic says of a message that is too large (its server does not let us choose).
    if headers.get("grpc-status").is_some_and(|status| status == "11") {
        headers.insert("grpc-status", HeaderValue::from(Code::ResourceExhausted as i32));
    }
    if headers.contains_key("grpc-status") {
        return response;
    }
    response.extensions_mut().insert(Lasting(stopping.clone()));
    response.map(|body| until_stopped(body, stopping))
}

fn until_stopped(body: Body, mut stopping: watch::Receiver<bool>) -> Body {
    let stopped = Box::pin(async move { drop(stopping.wait_for(|stop| *stop).await) });
    let frames = stream::unfold(Some((BodyStream::new(body), stopped)), |going_on| async move {
        let (mut frames, mut stopped) = going_on?;
        tokio::select! {
            biased;
            frame = frames.next() => {
                // A body that breaks off is a call that does.
                let frame = frame?.ok()?;
                let goes_on = frame.is_data().then_some((frames, stopped));
                Some((Ok::<_, Infallible>(frame), goes_on))
            }
            () = &mut stopped => Some((Ok(Frame::trailers(reply::trailers(&reply::shutting_down()))), None)),
        }
    });
    Body::new(StreamBody::new(frames))
}

/// `grpc.health.v1`: what `/readyz` says, at that very moment.
struct Readiness(Ready);

/// The names under which the whole of it can be asked for.
const NAMES: [&str; 2] = ["", "weir.v1.Events"];

fn now(ready: &Ready) -> ServingStatus {
    if ready.0() { ServingStatus::Serving } else { ServingStatus::NotServing }
}

fn told(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[async_trait]
impl Health for Readiness {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        request: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<HealthCheckResponse>, Status> {
        if NAMES.contains(&request.get_ref().service.as_str()) {
            Ok(tonic::Response::new(told(now(&self.0))))
        } else {
            Err(Status::not_found("reflection lists what there is"))
        }
    }

    async fn watch(
        &self,
        request: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<Self::WatchStream>, Status> {
        let known = NAMES.contains(&request.get_ref().service.as_str());
        let ready = self.0.clone();
        let status = move || if known { now(&ready) } else { ServingStatus::ServiceUnknown };
        let mut looks = tokio::time::interval(LOOK_PAUSE);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let changes = stream::unfold((looks, None, status), |(mut looks, last, status)| async move {
            loop {
                looks.tick().await;
                let seen = status();
                if last != Some(seen) {
                    return Some((Ok(told(seen)), (looks, Some(seen), status)));
                }
            }
        });
        Ok(tonic::Response::new(Box::pin(changes)))
    }
}
