//! Every door of both listeners, tried by everybody. The doors are those of the table that the gateway is built from.

use std::fs;
use std::path::Path;

use reqwest::Method;
use weir::access::Action;
use weir::http::doors::{Door, Listener};

use super::{Answer, Stage, key};

/// Who tries: a tenant and a role, or nobody.
#[derive(Clone, Debug)]
struct Who {
    name: String,
    tenant: &'static str,
    role: &'static str,
    key: Option<String>,
}

/// How it has to end.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The handler answered.
    Through,
    Unauthorized,
    NotPermitted,
    /// As if there were no such route.
    NoRoute,
}

/// What the table of roles says, without a look at how the gateway decides.
fn expected(door: Door, who: &Who) -> End {
    let enough = match door.action() {
        Action::Probe => return End::Through,
        Action::Scrape => ["metrics", "admin"].contains(&who.role),
        Action::Ingest => who.role == "write",
        Action::Lookup => who.role == "read",
        Action::Operate => who.role == "admin",
    };
    let own = who.tenant == "shop";
    match door {
        _ if who.key.is_none() => End::Unauthorized,
        Door::PostCloudEvent if !enough => End::NotPermitted,
        Door::PostCloudEvent => {
            if own {
                End::Through
            } else {
                End::NoRoute
            }
        }
        _ if door.path().contains("{route}") && !own => End::NoRoute,
        // Of the metrics, everybody's own.
        _ if !door.path().contains("{route}")
            && who.tenant != "default"
            && door.action() != Action::Scrape =>
        {
            End::NotPermitted
        }
        _ if enough => End::Through,
        _ => End::NotPermitted,
    }
}

fn end(answer: &Answer) -> End {
    match (answer.status, answer.code().as_str()) {
        (401, "unauthorized") => End::Unauthorized,
        (403, "not-permitted") => End::NotPermitted,
        (404, "unknown-route") => End::NoRoute,
        (401 | 403 | 405 | 500, _) | (404, "not-found" | "") => panic!("{answer:?}"),
        _ => End::Through,
    }
}

async fn everybody() -> (Stage, Vec<Who>) {
    let nobody = Who { name: "nobody".to_owned(), tenant: "", role: "", key: None };
    let (mut all, mut stanzas) = (vec![nobody], String::from("access:\n  keys:\n"));
    for tenant in ["shop", "other", "default"] {
        for role in ["write", "read", "admin", "metrics"] {
            let name = format!("{tenant}-{role}");
            let (key, stanza) = key(&name, tenant, &format!("roles: [{role}]"));
            stanzas += &format!("  {stanza}");
            all.push(Who { name, tenant, role, key: Some(key) });
        }
    }
    (Stage::start(&stanzas).await, all)
}

fn path(door: Door, route: &str) -> String {
    let filled =
        [("{route}", route), ("{plugin}", "p"), ("{id}", "e-1"), ("{partition}", "0"), ("{offset}", "0")];
    filled.iter().fold(door.path().to_owned(), |path, (name, value)| path.replace(name, value))
}

async fn try_door(stage: &Stage, door: Door, path: &str, key: Option<&str>) -> Answer {
    let url = match door.listener() {
        Listener::Public => stage.weir.url(path),
        Listener::Admin => stage.weir.admin_url(path),
    };
    let (kind, body) = match door {
        Door::PostCloudEvent => (
            "application/cloudevents+json",
            r#"{"specversion":"1.0","id":"i","source":"s","type":"orders.x","data":{"key":"k"}}"#,
        ),
        _ => ("application/json", r#"{"key":"k"}"#),
    };
    let request = stage.http.request(door.method(), url).header("content-type", kind).body(body);
    Answer::to(key.into_iter().fold(request, reqwest::RequestBuilder::bearer_auth)).await
}

#[tokio::test]
async fn everybody_gets_through_the_doors_that_are_theirs_and_no_others() {
    let (stage, everybody) = everybody().await;
    for who in &everybody {
        for door in Door::ALL {
            let answer = try_door(&stage, *door, &path(*door, "orders"), who.key.as_deref()).await;
            let wanted = expected(*door, who);
            assert_eq!(end(&answer), wanted, "{} at {door:?}: {answer:?}", who.name);
            if wanted == End::Unauthorized {
                assert_eq!(answer.headers["www-authenticate"], "Bearer");
            }
            if wanted == End::NoRoute && door.names_a_route() {
                let none = try_door(&stage, *door, &path(*door, "nothing"), who.key.as_deref()).await;
                assert_eq!(
                    (answer.status, answer.text),
                    (none.status, none.text),
                    "{} at {door:?}",
                    who.name
                );
            }
        }
    }
    let keys: Vec<_> = everybody.iter().filter_map(|who| who.key.as_deref().map(super::secret)).collect();
    stage.never_logged(&keys);
}

#[tokio::test]
async fn a_route_is_nobody_elses_however_its_path_is_written() {
    let (stage, everybody) = everybody().await;
    let reader = everybody.iter().find(|who| who.name == "other-read").unwrap().key.as_deref();
    for path in
        ["%6frders?key=k", "orders/?key=k", "orders%2f?key=k", "orders/e%2d1", "visits%2f..%2forders?key=k"]
    {
        let answer = stage.get(stage.weir.url(&format!("/v1/events/{path}")), reader).await;
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
        assert!(!answer.text.contains("\"events\""), "{path}");
    }
    let own = stage.get(stage.weir.url("/v1/events/%76isits?key=k"), reader).await;
    assert_eq!(own.status, 200, "{own:?}");
}

#[tokio::test]
async fn no_other_method_is_taken_and_no_admin_path_is_on_the_public_listener() {
    let (stage, everybody) = everybody().await;
    let admin = everybody.iter().find(|who| who.name == "default-admin").unwrap().key.as_deref();
    for door in Door::ALL {
        let path = path(*door, "orders");
        let listed = |method: &Method| {
            Door::ALL.iter().any(|other| other.path() == door.path() && other.method() == *method)
        };
        let base = if door.listener() == Listener::Public {
            stage.weir.url(&path)
        } else {
            stage.weir.admin_url(&path)
        };
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            if !listed(&method) {
                let answer = stage.ask(method.clone(), base.clone(), admin, "").await;
                assert_eq!(answer.status, 405, "{method} {path}: {answer:?}");
            }
        }
        if door.listener() == Listener::Admin {
            let answer = stage.ask(door.method(), stage.weir.url(&path), admin, "").await;
            assert_eq!(answer.status, 404, "{path} on the public listener");
        }
    }
}

/// The ban in `clippy.toml` fails a build with a path that has no row; this says so without clippy.
#[test]
fn routers_are_made_from_the_table_alone() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../gateway/src/http");
    let mut code = String::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_file() && !entry.path().ends_with("doors.rs") {
            code += &fs::read_to_string(entry.path()).unwrap();
        }
    }
    for way_around in [".route(\"", ".route_service(", ".nest(", ".nest_service("] {
        assert!(!code.contains(way_around), "{way_around} in gateway/src/http: use `Doors::open`");
    }
    let bans = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../clippy.toml")).unwrap();
    assert!(bans.contains("axum::Router::route"));
}
