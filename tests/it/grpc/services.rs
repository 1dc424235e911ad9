//! Health and reflection, as tools ask for them: one of them in another language.

use std::process::Command;

use serde_json::Value;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use weir_tests::world::{inputs, until};

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

/// The lines of the README, run as they stand there; only the order in them is written out.
#[tokio::test]
async fn the_readmes_calls_do_what_it_says() {
    let world = World::dev(&[]).await;
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let (_, lines) = readme.split_once("```sh\ngrpcurl").unwrap();
    let (lines, _) = lines.split_once("```").unwrap();
    let short = r#"{\"order_id\":\"o-1\", \u{2026}}"#.replace(r"\u{2026}", "\u{2026}");
    assert!(lines.contains(&short) && lines.matches("localhost:8080").count() == 3, "{lines}");
    let lines = lines.replace(&short, &ORDER.replace('"', "\\\""));
    let lines = lines.replace("localhost:8080", &world.weir.url("").replace("http://", ""));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/api/grpcurl.py");
    let stand_in = format!("grpcurl() {{ '{}' '{script}' \"$@\"; }}", inputs::python().display());
    let script = format!("set -e\n{stand_in}\ngrpcurl{lines}");
    until("the event that was published is found", PATIENCE, async || {
        let script = script.clone();
        let run = move || Command::new("sh").args(["-c", &script]).output().unwrap();
        let run = tokio::task::spawn_blocking(run).await.unwrap();
        let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
        assert!(run.status.success(), "{err}");
        let told: Vec<_> = out.lines().collect();
        assert!(told.contains(&"weir.v1.Events"), "{out}");
        let [published, found] = told[told.len() - 2..] else { panic!("{out}") };
        let [published, found] = [published, found].map(|text| serde_json::from_str::<Value>(text).unwrap());
        assert_eq!(published["results"][0]["receipt"]["outcome"], "stored", "{out}");
        found["events"].as_array().filter(|events| events.iter().any(|it| it["key"] == "u-7")).map(drop)
    })
    .await;
}
