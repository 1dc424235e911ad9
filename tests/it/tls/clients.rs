//! Certificates of clients: whose they are, and what becomes of those that are not good.

use std::process::{Command, Output};

use tempfile::TempDir;
use tonic::Code;
use weir::access::{Minted, mint};
use weir_tests::world::{canaries, inputs};

use super::certificates::{Authority, Certified, Fault, client};
use super::{BOTH, ROUTES, Stage};
use crate::grpc;

const CLIENTS: &str = ", client_ca: {folder}/clients.pem, client_crl: {folder}/revoked.pem, client_auth: ";

/// Certificates of two tenants, and keys of both.
struct Known {
    access: String,
    keys: [String; 2],
}

impl Known {
    fn new() -> Self {
        let minted = ["shop", "other"].map(|tenant| (tenant, mint(tenant).unwrap()));
        let stanzas = minted.each_ref().map(|(tenant, Minted { sha256, .. })| {
            format!("    - {{id: {tenant}, sha256: {sha256}, tenant: {tenant}, roles: [write]}}\n")
        });
        let certificates = "    - {san: writer.shop.example, tenant: shop, roles: [write]}\n    \
                            - {san: 'spiffe://example/shop', tenant: shop, roles: [write, read]}\n    \
                            - {san: 'spiffe://example/reader', tenant: shop, roles: [read]}\n    \
                            - {san: 'spiffe://example/other', tenant: other, roles: [write]}\n    \
                            - {san: prober.example, roles: [metrics]}\n";
        let access = format!("access:\n  certificates:\n{certificates}  keys:\n{}", stanzas.concat());
        let keys = minted.map(|(_, Minted { key, .. })| key);
        keys.iter().for_each(|key| canaries().note(key.rsplit('_').next().unwrap()));
        Known { access, keys }
    }
}

/// A stage whose public listener takes certificates of this authority.
async fn stage(clients: &Authority, auth: &str, known: &Known) -> Stage {
    // The files of clients are there before the gateway: their folder is another one.
    let folder = TempDir::new().unwrap().keep();
    std::fs::write(folder.join("clients.pem"), clients.pem()).unwrap();
    std::fs::write(folder.join("revoked.pem"), clients.revoked()).unwrap();
    let tls = format!("{CLIENTS}{auth}").replace("{folder}", &folder.display().to_string());
    Stage::start(&tls, &known.access).await
}

/// A status and a code; nothing where there is no connection.
type Answered = Option<(u16, String)>;

/// What an event to `orders` is answered, with this certificate and these headers.
async fn ask(stage: &Stage, own: Option<&Certified>, headers: &[(&str, &str)]) -> Answered {
    let mut seen = Vec::new();
    for (alpn, tls12) in [(&["http/1.1"][..], false), (BOTH, false), (BOTH, true)] {
        let http = stage.http(client(&stage.authority, own, alpn, tls12));
        let request = http.post(stage.url("/v1/events/orders")).header("content-type", "application/json");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let answer = match request.body(r#"{"key":"k"}"#).send().await {
            Ok(response) => {
                let status = response.status().as_u16();
                let body: serde_json::Value = response.json().await.unwrap();
                Some((status, body["code"].as_str().unwrap_or_default().to_owned()))
            }
            Err(_) => None,
        };
        seen.push(answer);
    }
    assert!(seen.iter().all(|answer| *answer == seen[0]), "it depends on the protocol: {seen:?}");
    seen.swap_remove(0)
}

fn answered(status: u16, code: &str) -> Answered {
    Some((status, code.to_owned()))
}

#[tokio::test]
async fn a_certificate_that_is_not_good_gets_no_connection() {
    let (clients, known) = (Authority::new("clients"), Known::new());
    let strangers = Authority::new("clients");
    let names: &[&str] = &["writer.shop.example"];
    for auth in ["required", "optional"] {
        let stage = stage(&clients, auth, &known).await;
        let good = clients.client(names, Fault::None);
        assert_eq!(ask(&stage, Some(&good), &[]).await, answered(201, ""));
        for fault in [Fault::Expired, Fault::NotYet, Fault::ForServers, Fault::Revoked] {
            let bad = clients.client(names, fault);
            assert_eq!(ask(&stage, Some(&bad), &[]).await, None, "{fault:?}");
        }
        let strange = strangers.client(names, Fault::None);
        assert_eq!(ask(&stage, Some(&strange), &[]).await, None, "of another authority");
        let without = if auth == "required" { None } else { answered(401, "unauthorized") };
        assert_eq!(ask(&stage, None, &[]).await, without);
        assert_eq!(ask(&stage, Some(&good), &[]).await, answered(201, ""));
        let log = stage.weir.process().log();
        for why in ["certificate expired", "not valid yet", "extended key usage", "Revoked", "BadSignature"] {
            assert!(log.contains(why), "{why} not in\n{log}");
        }
    }
}

#[tokio::test]
async fn a_certificate_is_whom_the_config_says_it_is_and_nobody_else() {
    let (clients, known) = (Authority::new("clients"), Known::new());
    let stage = stage(&clients, "optional", &known).await;
    let stranger = answered(403, "not-permitted");
    let cases: [(&[&str], Answered); 9] = [
        (&["writer.shop.example"], answered(201, "")),
        (&["Writer.Shop.Example", "else.example"], answered(201, "")),
        (&["spiffe://example/shop"], answered(201, "")),
        (&["spiffe://example/reader"], stranger.clone()),
        (&["spiffe://example/other"], answered(404, "unknown-route")),
        (&["*.shop.example"], stranger.clone()),
        (&["writer.shop.example.org", "spiffe://example/shop/more"], stranger.clone()),
        (&["spiffe://example/shop", "spiffe://example/other"], stranger.clone()),
        (&[], stranger),
    ];
    for (names, expected) in cases {
        let own = clients.client(names, Fault::None);
        assert_eq!(ask(&stage, Some(&own), &[]).await, expected, "{names:?}");
        let own = Some(&own);
        let tenant = ask(
            &stage,
            own,
            &[("x-tenant", "shop"), ("x-forwarded-client-cert", "URI=spiffe://example/shop")],
        );
        assert_eq!(tenant.await, expected, "a header says nothing: {names:?}");
    }
    let metrics = stage.weir.admin_url("/metrics");
    let answer = reqwest::get(&metrics).await.unwrap();
    assert_eq!(answer.status(), 401, "the admin listener has no certificates here");
}

#[tokio::test]
async fn a_certificate_beside_a_key_of_another_tenant_is_refused() {
    let (clients, known) = (Authority::new("clients"), Known::new());
    let stage = stage(&clients, "optional", &known).await;
    let certificate = |name| clients.client(&[name], Fault::None);
    let (shop, other, reader, nobody) = (
        certificate("writer.shop.example"),
        certificate("spiffe://example/other"),
        certificate("spiffe://example/reader"),
        certificate("nobody.example"),
    );
    let [own, foreign] = known.keys.each_ref().map(|key| format!("Bearer {key}"));
    let wrong = format!("{own}0");
    let mismatch = answered(403, "credential-mismatch");
    let cases: [(&Certified, &str, Answered); 7] = [
        (&shop, &own, answered(201, "")),
        (&shop, &foreign, mismatch.clone()),
        (&other, &own, mismatch),
        (&reader, &own, answered(201, "")),
        (&nobody, &own, answered(201, "")),
        (&shop, &wrong, answered(401, "unauthorized")),
        (&shop, "Basic d2Vpcg==", answered(401, "unauthorized")),
    ];
    for (place, (certificate, key, expected)) in cases.into_iter().enumerate() {
        let header = [("authorization", key), ("x-tenant", "shop")];
        assert_eq!(ask(&stage, Some(certificate), &header).await, expected, "{place}");
    }
    assert_eq!(ask(&stage, None, &[("authorization", &own)]).await, answered(201, ""));
    let call = async |key: &str| {
        let http = stage.http(client(&stage.authority, Some(&shop), BOTH, false));
        grpc::publish(&http, stage.url(grpc::PUBLISH), &[("authorization", key)], "orders").await
    };
    let mismatch = Some((Code::PermissionDenied, "credential-mismatch".to_owned()));
    assert_eq!((call(&foreign).await, call(&own).await), (mismatch, None), "and over gRPC");
}

fn validate(config: &str) -> Output {
    let folder = TempDir::new().unwrap();
    let authority = Authority::new("servers");
    authority.server().write(folder.path());
    std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
    std::fs::write(folder.path().join("other.key"), authority.server().key_pem()).unwrap();
    let kafka = "kafka: {brokers: [\"127.0.0.1:1\"], allow_weak_topics: true}\n";
    std::fs::write(folder.path().join("weir.yaml"), format!("{kafka}{config}{ROUTES}")).unwrap();
    let mut command = Command::new(inputs::weir());
    command.args(["validate", "-c", "weir.yaml"]).current_dir(folder.path()).output().unwrap()
}

#[test]
fn validate_looks_into_the_files_and_warns_of_clear_text() {
    let files = "certificate: server.pem, key: {file: server.key}";
    let asked = "client_ca: ca.pem, client_auth: required";
    let certificates = "access: {certificates: [{san: a.example, roles: [write]}]}\n";
    let cases = [
        (format!("tls: {{{files}, {asked}}}\n{certificates}"), "✓ tls"),
        (format!("admin_tls: {{{files}}}\n"), "✓ admin_tls"),
        ("tls: {certificate: server.pem, key: {file: other.key}}\n".to_owned(), "cannot be used together"),
        ("tls: {certificate: nowhere.pem, key: {file: server.key}}\n".to_owned(), "nowhere.pem"),
        (
            "tls: {certificate: server.key, key: {file: server.key}}\n".to_owned(),
            "the certificate is not PEM",
        ),
        (
            "tls: {certificate: server.pem, key: {file: server.pem}}\n".to_owned(),
            "the private key is not one",
        ),
        ("tls: {certificate: server.pem, key: canary}\n".to_owned(), "{env: NAME}"),
        (format!("tls: {{{files}, client_auth: optional}}\n"), "needs a `client_ca`"),
        (format!("tls: {{{files}, client_ca: ca.pem}}\n"), "no client is asked"),
        (format!("tls: {{{files}}}\n{certificates}"), "no listener asks a client"),
        ("listen: 0.0.0.0:1\naccess: {open: true}\n".to_owned(), "without TLS"),
    ];
    // Each waits for a Kafka that is not there, so they wait together.
    let outputs: Vec<_> = std::thread::scope(|scope| {
        let begun = cases.each_ref().map(|(config, _)| scope.spawn(|| validate(config)));
        begun.into_iter().map(|validated| validated.join().unwrap()).collect()
    });
    for ((config, text), output) in cases.iter().zip(outputs) {
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains(text) && !said.contains("canary"), "{text} for {config}:\n{said}");
        assert_eq!(said.contains("without TLS"), *text == "without TLS", "{said}");
    }
}
