//! What an operator is told: how a key is made, and why a gateway that anyone could reach does not start.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;
use weir_tests::world::inputs;

use super::{ROUTES, Stage};

pub(super) fn weir(folder: &Path, args: &[&str]) -> Output {
    Command::new(inputs::weir()).args(args).current_dir(folder).output().unwrap()
}

pub(super) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

pub(super) fn folder(config: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    let kafka = "kafka: {brokers: [\"127.0.0.1:1\"], allow_weak_topics: true}\n";
    std::fs::write(folder.path().join("weir.yaml"), format!("{kafka}{config}{ROUTES}")).unwrap();
    folder
}

pub(super) const VALIDATE: [&str; 4] = ["validate", "-c", "weir.yaml", "--no-environment"];

#[test]
fn a_listener_that_others_reach_needs_access_or_the_word_that_it_is_open() {
    for listener in ["listen: 0.0.0.0:18080\n", "admin: 192.0.2.7:19090\n", "listen: \"[::]:18080\"\n"] {
        let folder = folder(listener);
        for args in [&VALIDATE[..], &["serve", "-c", "weir.yaml"]] {
            let output = weir(folder.path(), args);
            assert_eq!(output.status.code(), Some(64), "{}", said(&output));
            for text in
                ["nobody is asked who they are", "weir keys new", "access: {open: true}", "weir.yaml:2"]
            {
                assert!(said(&output).contains(text), "no `{text}` in:\n{}", said(&output));
            }
        }
    }
    let open = weir(folder("listen: 0.0.0.0:18080\naccess: {open: true}\n").path(), &VALIDATE);
    assert_eq!(open.status.code(), Some(0), "{}", said(&open));
    assert!(said(&open).contains("nobody is asked who they are"), "it is said all the same");
    let loopback = weir(folder("listen: 127.0.0.2:18080\nadmin: \"[::1]:19090\"\n").path(), &VALIDATE);
    assert_eq!(loopback.status.code(), Some(0), "{}", said(&loopback));
    assert!(!said(&loopback).contains("nobody is asked"));
}

#[test]
fn what_is_wrong_with_keys_is_said_without_them() {
    let digest = "ab".repeat(32);
    let cases = [
        (
            format!("access: {{open: true, keys: [{{id: a, sha256: {digest}, roles: [read]}}]}}\n"),
            "leave out one",
        ),
        (format!("access: {{keys: [{{id: a, sha256: canary{digest}, roles: [read]}}]}}\n"), "64 hex digits"),
        (format!("access: {{keys: [{{id: a, sha256: {digest}, roles: []}}]}}\n"), "has no role"),
        (
            format!("access: {{keys: [{{id: a, sha256: {digest}, roles: [reader]}}]}}\n"),
            "did you mean `read`?",
        ),
        (format!("access: {{keys: [{{id: A, sha256: {digest}, roles: [read]}}]}}\n"), "cannot be a key's id"),
        (
            format!("access: {{keys: [{{id: a, sha256: {digest}, roles: [read], tenant: 'x y'}}]}}\n"),
            "name a tenant",
        ),
        ("access: {keys_file: nowhere.yaml}\n".to_owned(), "nowhere.yaml"),
    ];
    for (config, text) in cases {
        let output = weir(folder(&config).path(), &VALIDATE);
        assert_eq!(output.status.code(), Some(64), "{}", said(&output));
        assert!(
            said(&output).contains(text) && !said(&output).contains("canary"),
            "{text}: {}",
            said(&output)
        );
    }
}

#[tokio::test]
async fn a_key_is_made_shown_once_and_works_as_it_was_pasted() {
    let folder = TempDir::new().unwrap();
    let new = ["keys", "new", "--id", "shop-1", "--tenant", "shop", "--role", "write", "--role", "read"];
    let more = ["--route", "orders", "--expires", "2036-01-01T00:00:00Z"];
    let output = weir(folder.path(), &[&new[..], &more].concat());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let text = said(&output);
    let key = text.lines().find(|line| line.starts_with("weir_shop-1_")).unwrap();
    let (_, stanza) = text.split_at(text.find("- id:").unwrap());
    assert!(!stanza.contains(super::secret(key)));
    let file = folder.path().join("keys.yaml");
    std::fs::write(&file, stanza).unwrap();
    let stage = Stage::start(&format!("access: {{keys_file: {}}}\n", file.display())).await;
    assert_eq!(stage.post("/v1/events/orders", Some(key)).await.status, 201);

    let json = weir(folder.path(), &[&new[..], &["-o", "json"]].concat());
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_ne!(json["key"], key, "each is another");
    assert_eq!(json["stanza"]["roles"], serde_json::json!(["write", "read"]));
    for (id, role) in [("shop 1", "write"), ("shop", "root"), ("", "read")] {
        let refused = weir(folder.path(), &["keys", "new", "--id", id, "--role", role]);
        assert_eq!(refused.status.code(), Some(64), "{}", said(&refused));
    }
}
