//! Health and reflection, as tools ask for them: one of them in another language.

use std::process::Command;

use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use weir_tests::world::inputs;

use super::{ORDER, PATIENCE, World, prefixed};

const CHECK: &str = "/grpc.health.v1.Health/Check";
const REFLECT: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

fn ask(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

fn is(response: &HealthCheckResponse, status: ServingStatus) -> bool {
    response.status() == status
}

#[tokio::test]
async fn health_says_what_readyz_says() {
    let world = World::dev(&[]).await;
    let mut health = HealthClient::new(world.channel.clone());
    for service in ["", "weir.v1.Events"] {
        let checked = health.check(ask(service)).await.unwrap().into_inner();
        assert!(is(&checked, ServingStatus::Serving), "{service}");
    }
    assert_eq!(health.check(ask("other")).await.unwrap_err().code(), Code::NotFound);
    let mut unknown = health.watch(ask("other")).await.unwrap().into_inner();
    assert!(is(&unknown.message().await.unwrap().unwrap(), ServingStatus::ServiceUnknown));

    let mut watched = health.watch(ask("")).await.unwrap().into_inner();
    assert!(is(&watched.message().await.unwrap().unwrap(), ServingStatus::Serving));
    world.weir.sigterm();
    let ended = loop {
        match tokio::time::timeout(PATIENCE, watched.message()).await.unwrap() {
            Ok(Some(change)) => assert!(is(&change, ServingStatus::NotServing)),
            Ok(None) => panic!("the end has a status"),
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::Unavailable);
    assert_eq!(world.weir.wait(PATIENCE).await, Some(0), "who watches does not hold it up");
}

#[tokio::test]
async fn what_is_asked_of_them_is_bounded() {
    let mut world = World::dev(&[]).await;
    let large = world.raw(CHECK, &[], prefixed(0, &vec![0; 20_000])).await;
    assert_eq!(large.told().0, Code::ResourceExhausted);
    let method = world.raw("/grpc.health.v1.Health/Cure", &[], prefixed(0, &[])).await;
    assert_eq!(method.told().0, Code::Unimplemented);
    let garbage = world.raw(CHECK, &[], prefixed(0, &[0xff; 9])).await;
    assert_eq!(garbage.told().0, Code::Internal, "as tonic has it");
    // What reflection does not understand ends the stream, and no more.
    assert_eq!(world.raw(REFLECT, &[], prefixed(0, &[0xff; 9])).await.http, 200);
    world.goes_on().await;
}

#[tokio::test]
async fn another_language_needs_no_proto_files() {
    let world = World::dev(&[]).await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/reflection_client.py");
    let address = world.weir.url("").replace("http://", "");
    let run = tokio::task::spawn_blocking(move || {
        Command::new(inputs::python()).args([script, &address, ORDER]).output().unwrap()
    });
    let run = run.await.unwrap();
    let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{err}");
    assert_eq!(
        out.lines().collect::<Vec<_>>(),
        [
            "services: grpc.health.v1.Health, grpc.reflection.v1.ServerReflection, \
             grpc.reflection.v1alpha.ServerReflection, weir.v1.Events",
            "stored orders u-7",
            "found p-1 application/json",
            "INVALID_ARGUMENT schema-violation",
        ]
    );
    world.nothing_vanished().await;
}
