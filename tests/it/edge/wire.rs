//! Requests as bytes: a client that checks nothing of what it sends, over HTTP/1.1 and HTTP/2.

use std::fmt;
use std::io;
use std::time::Duration;

use serde_json::Value;
use weir_tests::world::canaries;

/// Longer than anything here may take: the gateway gives slow plugins ten seconds, and Kafka another ten.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A request that both protocols can carry.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether the length is told before the body.
    pub(crate) announced: bool,
}

impl Request {
    pub(crate) fn new(method: &'static str, path: impl Into<String>) -> Self {
        Request { method, path: path.into(), headers: Vec::new(), body: Vec::new(), announced: true }
    }

    /// JSON for a route.
    pub(crate) fn event(route: &str, body: impl Into<Vec<u8>>) -> Self {
        let request = Request::new("POST", format!("/v1/events/{route}"));
        request.header("content-type", "application/json").body(body)
    }

    /// A CloudEvent with these members beside the required ones, or in their place.
    pub(crate) fn cloudevent(members: &str) -> Self {
        let required = [("specversion", "1.0"), ("id", "e-1"), ("source", "/edge"), ("type", "edge.plain")];
        let missing: Vec<_> = required
            .iter()
            .filter(|(name, _)| !members.contains(&format!("\"{name}\":")))
            .map(|(name, value)| format!("\"{name}\":\"{value}\""))
            .chain((!members.is_empty()).then(|| members.to_owned()))
            .collect();
        let request = Request::new("POST", "/v1/events");
        request
            .header("content-type", "application/cloudevents+json")
            .body(format!("{{{}}}", missing.join(",")))
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.retain(|(other, _)| *other != name);
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn unannounced(mut self) -> Self {
        self.announced = false;
        self
    }
}

/// An answer, read to its end.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Answer { status, headers, body } = self;
        write!(f, "{status} {headers:?} {}", String::from_utf8_lossy(body))
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// It, once what it says was kept.
    fn told(self) -> Self {
        if self.status >= 400 {
            canaries().told(&String::from_utf8_lossy(&self.body));
        }
        self
    }

    /// The problem's code; empty if it is none.
    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

fn broken(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

pub(crate) mod http1 {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpSocket, TcpStream};
    use tokio::time::timeout;

    use super::*;

    /// A connection, and what was read of it beyond the answers taken.
    pub(crate) struct Connection {
        pub(crate) stream: TcpStream,
        read: Vec<u8>,
    }

    pub(crate) async fn ask(address: &str, request: &Request) -> io::Result<Answer> {
        let mut connection = Connection::open(address).await?;
        connection.send(&written(request)).await;
        connection.answer().await
    }

    /// A request's bytes.
    pub(crate) fn written(request: &Request) -> Vec<u8> {
        let mut out = format!("{} {} HTTP/1.1\r\nhost: weir\r\n", request.method, request.path).into_bytes();
        for (name, value) in &request.headers {
            out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        if request.announced {
            out.extend_from_slice(format!("content-length: {}\r\n\r\n", request.body.len()).as_bytes());
            out.extend_from_slice(&request.body);
        } else {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
            for chunk in request.body.chunks(60_000) {
                out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                out.extend_from_slice(chunk);
                out.extend_from_slice(b"\r\n");
            }
            out.extend_from_slice(b"0\r\n\r\n");
        }
        out
    }

    impl Connection {
        pub(crate) async fn open(address: &str) -> io::Result<Self> {
            Ok(Connection { stream: TcpStream::connect(address).await?, read: Vec::new() })
        }

        /// From an address of its own, of those that are all this machine's: 127.0.0.0/8.
        pub(crate) async fn open_from(own: &str, address: &str) -> io::Result<Self> {
            let socket = TcpSocket::new_v4()?;
            socket.bind(format!("{own}:0").parse().expect("an address"))?;
            let stream = socket.connect(address.parse().expect("an address")).await?;
            Ok(Connection { stream, read: Vec::new() })
        }

        /// Sends what it can: who is refused early need not read all.
        pub(crate) async fn send(&mut self, bytes: &[u8]) {
            drop(timeout(PATIENCE, self.stream.write_all(bytes)).await);
        }

        /// The next answer.
        pub(crate) async fn answer(&mut self) -> io::Result<Answer> {
            let reading = async {
                loop {
                    if let Some(head) = find(&self.read, b"\r\n\r\n") {
                        return self.after_head(head).await;
                    }
                    self.more().await?;
                }
            };
            timeout(PATIENCE, reading).await.map_err(|_| broken("no answer in time"))?
        }

        async fn after_head(&mut self, head: usize) -> io::Result<Answer> {
            let rest = self.read.split_off(head + 4);
            let text = String::from_utf8_lossy(&std::mem::replace(&mut self.read, rest)).into_owned();
            let mut lines = text.split("\r\n");
            let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
            let headers: Vec<_> = lines
                .filter_map(|line| line.split_once(": "))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect();
            let mut answer =
                Answer { status: status.ok_or_else(|| broken("no status"))?, headers, body: Vec::new() };
            let length: usize =
                answer.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            while self.read.len() < length {
                self.more().await?;
            }
            let rest = self.read.split_off(length);
            answer.body = std::mem::replace(&mut self.read, rest);
            Ok(answer.told())
        }

        async fn more(&mut self) -> io::Result<()> {
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Ok(())
        }

        /// Whether the gateway closes the connection without another byte.
        pub(crate) async fn is_closed(&mut self) -> bool {
            let had = self.read.len();
            let closed = async { while self.more().await.is_ok() {} };
            timeout(PATIENCE, closed).await.is_ok() && self.read.len() == had
        }
    }

    fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
        bytes.windows(wanted.len()).position(|window| window == wanted)
    }
}

pub(crate) mod http2 {
    use bytes::Bytes;
    use h2::client::SendRequest;
    use tokio::net::TcpStream;
    use tokio::time::timeout;

    use super::*;

    /// Opens a connection with prior knowledge; it is driven by a task of its own.
    pub(crate) async fn open(address: &str) -> io::Result<SendRequest<Bytes>> {
        let stream = TcpStream::connect(address).await?;
        let (sender, connection) = h2::client::handshake(stream).await.map_err(io::Error::other)?;
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }

    pub(crate) async fn ask(address: &str, request: &Request) -> Result<Answer, h2::Error> {
        let sender = open(address).await.expect("a connection");
        timeout(PATIENCE, ask_on(sender, request)).await.expect("an answer in time")
    }

    /// On a connection that is there.
    pub(crate) async fn ask_on(sender: SendRequest<Bytes>, request: &Request) -> Result<Answer, h2::Error> {
        let mut sender = sender.ready().await?;
        let uri = http::Uri::builder().scheme("http").authority("weir").path_and_query(&request.path);
        let mut head = http::Request::builder().method(request.method).uri(uri.build().expect("a target"));
        for (name, value) in &request.headers {
            head = head.header(*name, value);
        }
        if request.announced {
            head = head.header("content-length", request.body.len());
        }
        let head = head.body(()).expect("a request");
        let (response, mut stream) = sender.send_request(head, request.body.is_empty())?;
        // All of it waits here for the gateway's window; an answer may come before that, and end the stream.
        if !request.body.is_empty() {
            drop(stream.send_data(request.body.clone().into(), true));
        }
        let response = response.await?;
        let (parts, mut body) = response.into_parts();
        let headers = parts.headers.iter();
        let headers = headers.map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        });
        let mut answer =
            Answer { status: parts.status.as_u16(), headers: headers.collect(), body: Vec::new() };
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            answer.body.extend_from_slice(&data);
        }
        Ok(answer.told())
    }
}
