//! Just enough of Valkey's wire protocol (RESP2) to form a cluster and to look into it.
//! Not a client for the gateway: no pool, no redirects, no retries; one call at a time.

use std::pin::Pin;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

const CALL_TIMEOUT: Duration = Duration::from_secs(2);
const BULK_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Nil,
    Integer(i64),
    /// A simple or a bulk string.
    Bytes(Vec<u8>),
    List(Vec<Reply>),
    /// The server's own refusal, e.g. `MOVED 5798 127.0.0.1:7001`.
    Error(String),
}

impl Reply {
    /// The text of a string; empty for anything else.
    pub fn text(&self) -> String {
        match self {
            Self::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            _ => String::new(),
        }
    }

    /// The items of a list; none for anything else.
    pub fn items(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }
}

/// One connection to one server.
#[derive(Debug)]
pub struct Resp(BufReader<TcpStream>);

impl Resp {
    /// Fails when the server cannot be reached, hangs, or refuses the password.
    pub async fn connect(address: &str, password: Option<&str>) -> std::io::Result<Self> {
        let connecting = tokio::time::timeout(CALL_TIMEOUT, TcpStream::connect(address));
        let mut resp = Self(BufReader::new(connecting.await??));
        if let Some(password) = password
            && let Reply::Error(why) = resp.call(&["AUTH", password]).await?
        {
            return Err(std::io::Error::other(why));
        }
        Ok(resp)
    }

    /// Sends one command and reads its reply. An `Err` is the connection's; the server's own is [`Reply::Error`].
    pub async fn call<A: AsRef<[u8]>>(&mut self, command: &[A]) -> std::io::Result<Reply> {
        let mut bytes = format!("*{}\r\n", command.len()).into_bytes();
        for part in command {
            let part = part.as_ref();
            bytes.extend(format!("${}\r\n", part.len()).bytes());
            bytes.extend_from_slice(part);
            bytes.extend(b"\r\n");
        }
        tokio::time::timeout(CALL_TIMEOUT, async {
            self.0.get_mut().write_all(&bytes).await?;
            self.read().await
        })
        .await?
    }

    fn read(&mut self) -> Pin<Box<dyn Future<Output = std::io::Result<Reply>> + Send + '_>> {
        Box::pin(async move {
            let mut line = String::new();
            self.0.read_line(&mut line).await?;
            let line = line.trim_end();
            let rest = line.get(1..).unwrap_or_default();
            let number = || rest.parse::<i64>().map_err(std::io::Error::other);
            Ok(match line.as_bytes().first() {
                Some(b'+') => Reply::Bytes(rest.into()),
                Some(b'-') => Reply::Error(rest.into()),
                Some(b':') => Reply::Integer(number()?),
                Some(b'$') => self.bulk(number()?).await?,
                Some(b'*') => self.list(number()?).await?,
                _ => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            })
        })
    }

    async fn bulk(&mut self, length: i64) -> std::io::Result<Reply> {
        let Ok(length) = usize::try_from(length) else { return Ok(Reply::Nil) };
        let mut bytes = vec![0; length.min(BULK_BYTES_MAX) + 2];
        self.0.read_exact(&mut bytes).await?;
        bytes.truncate(length);
        Ok(Reply::Bytes(bytes))
    }

    async fn list(&mut self, length: i64) -> std::io::Result<Reply> {
        let Ok(length) = usize::try_from(length) else { return Ok(Reply::Nil) };
        let mut items = Vec::new();
        for _ in 0..length {
            items.push(self.read().await?);
        }
        Ok(Reply::List(items))
    }
}
