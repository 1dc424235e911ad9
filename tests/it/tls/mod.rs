//! TLS of both listeners, with certificates made here, on the mock cluster of `weir dev`.

mod certificates;
mod clients;

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Version;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use weir_tests::world::{Weir, WeirOptions, until};

use self::certificates::{Authority, client};

const PATIENCE: Duration = Duration::from_secs(20);
const BOTH: &[&str] = &["h2", "http/1.1"];

const ROUTES: &str = r#"
log: {format: json, level: debug}
routes:
  - name: orders
    tenant: shop
    topic: orders
    topic_settings: {partitions: 1, replication_factor: 1, min_insync_replicas: 1}
"#;

/// A gateway with certificates of its own.
struct Stage {
    weir: Weir,
    folder: TempDir,
    authority: Authority,
}

impl Stage {
    /// With this in the section `tls`, and this beside it. `{folder}` is where the files are.
    async fn start(tls: &str, rest: &str) -> Self {
        let (folder, authority) = (TempDir::new().unwrap(), Authority::new("servers"));
        authority.server().write(folder.path());
        let files = "certificate: {folder}/server.pem, key: {file: {folder}/server.key}";
        let config = format!("tls: {{{files}{tls}}}\n{rest}{ROUTES}").replace("{files}", files);
        let config = config.replace("{folder}", &folder.path().display().to_string());
        let weir = Weir::launch(WeirOptions::dev_with(config));
        let stage = Stage { weir, folder, authority };
        let http = stage.http(client(&stage.authority, None, BOTH, false));
        let secured = rest.contains("admin_tls");
        let ready = stage.weir.admin_url("/readyz");
        let ready = if secured { ready.replace("http:", "https:") } else { ready };
        until("weir is ready", PATIENCE, async || {
            stage.weir.process().assert_running();
            http.get(&ready).send().await.ok()?.status().is_success().then_some(())
        })
        .await;
        stage
    }

    fn http(&self, config: ClientConfig) -> reqwest::Client {
        reqwest::Client::builder().use_preconfigured_tls(config).build().unwrap()
    }

    fn url(&self, path: &str) -> String {
        self.weir.url(path).replace("http:", "https:")
    }

    fn address(&self) -> String {
        self.weir.url("").replace("http://", "")
    }

    /// A connection of its own, after its handshake.
    async fn connect(&self) -> TlsStream<TcpStream> {
        let config = client(&self.authority, None, &["http/1.1"], false);
        let stream = TcpStream::connect(self.address()).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    }

    async fn metrics(&self) -> String {
        let response = reqwest::get(self.weir.admin_url("/metrics")).await.unwrap();
        response.text().await.unwrap()
    }
}

/// Sends one event; the status, and by which protocol.
async fn post(http: &reqwest::Client, url: String) -> reqwest::Result<(u16, Version)> {
    let request = http.post(url).header("content-type", "application/json").body(r#"{"key":"k"}"#);
    let response = request.send().await?;
    Ok((response.status().as_u16(), response.version()))
}

#[tokio::test]
async fn both_listeners_speak_what_the_handshake_agreed_on() {
    let stage = Stage::start("", "admin_tls: {{files}}\n").await;
    let cases: [(&[&str], Version); 5] = [
        (BOTH, Version::HTTP_2),
        (&["http/1.1", "h2"], Version::HTTP_2),
        (&["h2"], Version::HTTP_2),
        (&["http/1.1"], Version::HTTP_11),
        (&[], Version::HTTP_11),
    ];
    for (alpn, version) in cases {
        for tls12 in [false, true] {
            let http = stage.http(client(&stage.authority, None, alpn, tls12));
            for _ in 0..2 {
                let answer = post(&http, stage.url("/v1/events/orders")).await.unwrap();
                assert_eq!(answer, (201, version), "{alpn:?} {tls12}");
            }
            let admin = stage.weir.admin_url("/metrics").replace("http:", "https:");
            let metrics = http.get(admin).send().await.unwrap();
            assert_eq!((metrics.status().as_u16(), metrics.version()), (200, version));
            let text = metrics.text().await.unwrap();
            assert!(text.contains(r#"weir_tls_refused_total{listener="tls"} 0"#), "{text}");
        }
    }
    let ca = stage.folder.path().join("ca.pem");
    std::fs::write(&ca, stage.authority.pem()).unwrap();
    let asks = |admin: &str| {
        let mut command = std::process::Command::new(weir_tests::world::inputs::weir());
        command.args(["recent", "status", "--admin", admin, "--admin-ca"]).arg(&ca).output().unwrap()
    };
    let admin = stage.weir.admin_url("").replace("http:", "https:");
    let told = asks(&admin);
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let other = stage.http(client(&stage.authority, None, &["http/1.0"], false));
    assert!(post(&other, stage.url("/v1/events/orders")).await.is_err(), "nothing in common");
    let log = stage.weir.process().log();
    for told in
        [format!("events and lookups   {}", stage.url("")), format!("health and metrics   {admin}/metrics")]
    {
        assert!(log.contains(&told), "{told} not in\n{log}");
    }
    let clear = reqwest::Client::new();
    assert!(post(&clear, stage.weir.url("/v1/events/orders")).await.is_err(), "not in clear text");
    assert!(clear.get(stage.weir.admin_url("/livez")).send().await.is_err(), "not the admin listener either");
    let http = stage.http(client(&stage.authority, None, BOTH, false));
    assert_eq!(post(&http, stage.url("/v1/events/orders")).await.unwrap().0, 201);
}

#[tokio::test]
async fn a_new_certificate_is_for_new_connections_and_a_broken_one_for_none() {
    let stage = Stage::start("", "").await;
    let url = || stage.url("/v1/events/orders");
    let before = stage.http(client(&stage.authority, None, BOTH, false));
    assert_eq!(post(&before, url()).await.unwrap().0, 201);

    let next = Authority::new("next");
    let certified = next.server();
    certified.write(stage.folder.path());
    // It trusts the new authority alone, so that only the new certificate is good.
    let after = || stage.http(client(&next, None, BOTH, false));
    let renewed = async || post(&after(), url()).await.ok().filter(|(status, _)| *status == 201);
    until("the new certificate is shown", PATIENCE, renewed).await;
    assert_eq!(post(&before, url()).await.unwrap().0, 201, "a connection that was there goes on");
    let newcomer = stage.http(client(&stage.authority, None, BOTH, false));
    assert!(post(&newcomer, url()).await.is_err(), "the old one is not shown any more");

    let failures = r#"weir_tls_read_failures_total{listener="tls"} "#;
    let failed = async || {
        let text = stage.metrics().await;
        let count = text.lines().find_map(|line| line.strip_prefix(failures)).unwrap();
        count.parse::<u64>().unwrap()
    };
    for broken in
        [("server.pem", ""), ("server.key", "nonsense"), ("server.pem", stage.authority.pem().as_str())]
    {
        certified.write(stage.folder.path());
        let count = failed().await;
        std::fs::write(stage.folder.path().join(broken.0), broken.1).unwrap();
        until("it is noticed", PATIENCE, async || (failed().await > count + 1).then_some(())).await;
        assert_eq!(post(&after(), url()).await.unwrap().0, 201, "the last good one holds: {broken:?}");
    }
    let log = stage.weir.process().log();
    assert!(log.contains("the certificate stays as it was"), "{log}");
    let key = certified.key_pem();
    assert!(key.lines().nth(1).is_some_and(|line| !log.contains(line)), "the key is in the log");
}

/// How long until the other side has closed.
async fn closed(mut stream: impl tokio::io::AsyncRead + Unpin, since: Instant) -> Duration {
    let mut rest = Vec::new();
    let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    drop(end.expect("it is closed"));
    since.elapsed()
}

#[tokio::test]
async fn a_handshake_that_does_not_get_on_is_cut() {
    let stage = Stage::start("", "limits: {header_timeout_ms: 1500}\n").await;
    let limits = Duration::from_millis(1400)..Duration::from_secs(5);

    let since = Instant::now();
    let silent = closed(TcpStream::connect(stage.address()).await.unwrap(), since);
    let drip = async {
        let mut stream = TcpStream::connect(stage.address()).await.unwrap();
        // The head of a record of 512 bytes, which come one at a time.
        for byte in [0x16, 3, 1, 2, 0, 1].into_iter().chain(std::iter::repeat(0)) {
            let sent = stream.write_all(&[byte]).await;
            // The pace of the client is what is tested. It is told something only when it is cut.
            let pace = Duration::from_millis(100);
            if sent.is_err() || tokio::time::timeout(pace, stream.readable()).await.is_ok() {
                break;
            }
        }
        closed(stream, since).await
    };
    let (silent, drip) = tokio::join!(silent, drip);
    assert!(limits.contains(&silent) && limits.contains(&drip), "{silent:?} {drip:?}");

    // After the handshake it is a head that has to get on, also one that comes as the start of a record.
    let since = Instant::now();
    let mut head = stage.connect().await;
    head.write_all(b"POST /v1/events/orders HTTP/1.1\r\nx-slow: ").await.unwrap();
    head.flush().await.unwrap();
    let (mut record, _session) = stage.connect().await.into_inner();
    record.write_all(&[0x17, 3, 3, 1, 0, 0]).await.unwrap();
    let (head, record) = tokio::join!(closed(head, since), closed(record, since));
    assert!(limits.contains(&head) && limits.contains(&record), "{head:?} {record:?}");

    let quiet = stage.connect().await;
    // A connection that the client sees closed is counted out a moment later.
    until("the cut ones are counted, and the quiet one is left", PATIENCE, async || {
        let text = stage.metrics().await;
        let lines = [r#"weir_tls_refused_total{listener="tls"} 2"#, "weir_connections 1"];
        lines.iter().all(|line| text.contains(line)).then_some(())
    })
    .await;
    drop(quiet);
    let http = stage.http(client(&stage.authority, None, BOTH, false));
    assert_eq!(post(&http, stage.url("/v1/events/orders")).await.unwrap().0, 201);
}

#[tokio::test]
async fn a_request_that_is_under_way_is_finished_when_the_gateway_stops() {
    let stage = Stage::start("", "").await;
    let mut stream = stage.connect().await;
    let head = "POST /v1/events/orders HTTP/1.1\r\nhost: weir\r\ncontent-type: application/json\r\n\
                expect: 100-continue\r\ncontent-length: 11\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut buffer = [0; 1024];
    let read = stream.read(&mut buffer).await.unwrap();
    assert!(buffer[..read].starts_with(b"HTTP/1.1 100 "), "it reads the body");
    stream.write_all(br#"{"key""#).await.unwrap();
    let h2 = stage.http(client(&stage.authority, None, BOTH, false));
    assert_eq!(post(&h2, stage.url("/v1/events/orders")).await.unwrap().0, 201);

    stage.weir.sigterm();
    until("it stops", PATIENCE, async || stage.weir.process().log().contains("\"stopping\"").then_some(()))
        .await;
    stream.write_all(br#":"k"}"#).await.unwrap();
    let mut answer = Vec::new();
    // To its end: a close_notify, or this would be an error.
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 201 "), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(stage.weir.wait(Duration::from_secs(25)).await, Some(0));
}
