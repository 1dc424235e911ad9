//! The only reader of gRPC messages (gRPC over HTTP/2, "Length-Prefixed-Message"): within a size, within a time, and with a
//! permit for a message's bytes before the first of them is waited for.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tonic::Status;

use super::Refused;
use crate::admission::Quota;
use crate::event::budget::Permit;
use crate::http::body::{Reader, overloaded};
use crate::http::decompress::Encoding;
use crate::problem::{Code, Problem};

const PREFIX_BYTES: usize = 5;
/// What `grpc-accept-encoding` says.
const ACCEPTED: &str = "identity,gzip,zstd";

/// The messages of one call, as they arrive.
#[derive(Debug)]
pub(super) struct Messages {
    body: Incoming,
    reader: Reader,
    /// Of messages that are marked as compressed.
    encoding: Option<Encoding>,
    /// Received, and not taken yet: little more than what was waited for.
    received: BytesMut,
}

/// One message, and the share of the byte budget taken for it.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) bytes: Bytes,
    pub(super) permit: Permit,
    /// What its bytes were taken of before they were read.
    pub(super) paid: Option<Arc<Quota>>,
}

/// What stands before a message.
#[derive(Clone, Copy, Debug)]
struct Prefix {
    compressed: bool,
    length: usize,
}

impl Messages {
    pub(super) fn new(headers: &HeaderMap, body: Incoming, reader: &Reader) -> Result<Self, Refused> {
        let named = headers.get("grpc-encoding").filter(|name| *name != "identity");
        let encoding =
            named.map(|name| name.to_str().ok().and_then(Encoding::of_grpc).ok_or_else(unsupported));
        let encoding = encoding.transpose()?;
        Ok(Messages { body, reader: reader.clone(), encoding, received: BytesMut::new() })
    }

    /// The same with a smaller limit on each.
    pub(super) fn at_most(mut self, bytes: usize) -> Self {
        self.reader.body_bytes_max = self.reader.body_bytes_max.min(bytes);
        self
    }

    /// The one message of a call that has one, by the deadline at the latest. `quota` pays for its bytes before they are
    /// read.
    pub(super) async fn only(
        mut self,
        deadline: Option<Instant>,
        quota: Option<&Arc<Quota>>,
    ) -> Result<Message, Problem> {
        let timeout = Instant::now() + self.reader.body_timeout;
        let until = deadline.map_or(timeout, |deadline| deadline.min(timeout));
        let reading = async {
            let prefix = self.prefix().await?.ok_or_else(|| incomplete("the call has no message"))?;
            quota.map_or(Ok(()), |quota| quota.bytes(prefix.length))?;
            let message = self.message(prefix).await?;
            match self.prefix().await? {
                None => Ok(Message { paid: quota.cloned(), ..message }),
                Some(_) => Err(Problem::new(Code::BadQuery, "this call takes one message")),
            }
        };
        tokio::time::timeout_at(until.into(), reading).await.unwrap_or_else(|_| {
            Err(if until < timeout {
                Problem::new(Code::DeadlinePassed, "the message was not there in time")
            } else {
                self.too_slow()
            })
        })
    }

    /// The next message, however long it takes to begin; `None` when the client has sent its last one.
    pub(super) async fn next(&mut self) -> Result<Option<Message>, Problem> {
        match self.prefix().await? {
            Some(prefix) => self.message(prefix).await.map(Some),
            None => Ok(None),
        }
    }

    async fn prefix(&mut self) -> Result<Option<Prefix>, Problem> {
        if !self.fill(PREFIX_BYTES).await? {
            return if self.received.is_empty() {
                Ok(None)
            } else {
                Err(incomplete("the call ended inside a message"))
            };
        }
        let compressed = match self.received.get_u8() {
            0 => false,
            1 => true,
            _ => return Err(Problem::new(Code::BadEncoding, "a message's first byte is neither 0 nor 1")),
        };
        let length = usize::try_from(self.received.get_u32()).unwrap_or(usize::MAX);
        let bytes_max = self.reader.body_bytes_max;
        if length > bytes_max {
            let detail = format!("a message of this call may have at most {bytes_max} bytes");
            return Err(Problem::new(Code::BodyTooLarge, detail));
        }
        Ok(Some(Prefix { compressed, length }))
    }

    async fn message(&mut self, prefix: Prefix) -> Result<Message, Problem> {
        let permit = self.reader.budget.permit(prefix.length).ok_or_else(overloaded)?;
        let body_timeout = self.reader.body_timeout;
        let filled = tokio::time::timeout(body_timeout, self.fill(prefix.length)).await;
        if !filled.unwrap_or_else(|_| Err(self.too_slow()))? {
            return Err(incomplete("the call ended inside a message"));
        }
        let bytes = self.received.split_to(prefix.length).freeze();
        match (prefix.compressed, self.encoding) {
            (false, _) => Ok(Message { bytes, permit, paid: None }),
            (true, None) => {
                Err(Problem::new(Code::BadEncoding, "a message is compressed, and nobody says how"))
            }
            (true, Some(encoding)) => {
                // The permit of the message as it was sent is given back with it.
                let Reader { body_bytes_max, budget, .. } = &self.reader;
                let (bytes, permit) = Box::pin(encoding.undo(&bytes, *body_bytes_max, budget)).await?;
                Ok(Message { bytes, permit, paid: None })
            }
        }
    }

    /// Waits until so many bytes are there; false if they never will be.
    async fn fill(&mut self, bytes: usize) -> Result<bool, Problem> {
        while self.received.len() < bytes {
            let Some(frame) = self.body.frame().await else { return Ok(false) };
            let frame = frame.map_err(|_| incomplete("the connection ended inside the call"))?;
            let Ok(data) = frame.into_data() else { continue };
            self.received.reserve(data.len().max(bytes.saturating_sub(self.received.len())));
            self.received.extend_from_slice(&data);
        }
        Ok(true)
    }

    fn too_slow(&self) -> Problem {
        let detail = format!("send a whole message within {} ms", self.reader.body_timeout.as_millis());
        Problem::new(Code::BodyTimeout, detail)
    }
}

fn incomplete(detail: &'static str) -> Problem {
    Problem::new(Code::BodyIncomplete, detail)
}

fn unsupported() -> Refused {
    let mut status = Status::unimplemented("this grpc-encoding is not supported");
    status.metadata_mut().as_mut().insert("grpc-accept-encoding", HeaderValue::from_static(ACCEPTED));
    Refused::Status(Box::new(status))
}
