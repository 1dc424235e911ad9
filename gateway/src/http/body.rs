//! The only reader of request bodies: within a size, within a time, and with a permit for the bytes before
//! the first of them is read. What came compressed it gives on as it was before that.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, EXPECT};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::decompress::Encoding;
use crate::event::budget::{Budget, Permit};
use crate::problem::{Code, Problem};

/// How much may be read, and for how long.
#[derive(Clone, Debug)]
pub struct Reader {
    /// Bytes of all bodies in the house.
    pub budget: Arc<Budget>,
    /// Bytes of one body, as sent and decompressed.
    pub body_bytes_max: usize,
    /// From the first byte asked for to the last received.
    pub body_timeout: Duration,
    /// Between two pieces of a body that is answered while it comes.
    pub quiet_timeout: Duration,
}

impl Reader {
    /// Reads a whole body, and has `judge` look at it as it was sent before anything is done with it. The permit grows
    /// with a body that did not announce its length.
    pub async fn read(
        &self,
        headers: &HeaderMap,
        body: Incoming,
        judge: impl FnOnce(&[u8]) -> Result<(), Problem>,
    ) -> Result<(Bytes, Permit), Problem> {
        let encoding = match Encoding::of(headers) {
            Ok(encoding) => encoding,
            Err(problem) => {
                discard(headers, body).await;
                return Err(problem);
            }
        };
        let announced = announced_bytes(headers);
        if announced.is_some_and(|bytes| bytes > self.body_bytes_max) {
            discard(headers, body).await;
            return Err(self.too_large());
        }
        let Some(permit) = self.budget.permit(announced.unwrap_or_default()) else {
            discard(headers, body).await;
            return Err(overloaded());
        };
        let reading = self.collect(body, announced.unwrap_or_default(), permit);
        let (body, permit) = tokio::time::timeout(self.body_timeout, reading).await.unwrap_or_else(|_| {
            let detail = format!("send the whole body within {} ms", self.body_timeout.as_millis());
            Err(Problem::new(Code::BodyTimeout, detail))
        })?;
        judge(&body)?;
        match encoding {
            None => Ok((body, permit)),
            // Boxed, so that the frequent path does not carry its size along. The permit of the body as it was sent
            // is given back with it.
            Some(encoding) => Box::pin(encoding.undo(&body, self.body_bytes_max, &self.budget)).await,
        }
    }

    async fn collect(
        &self,
        mut body: Incoming,
        announced: usize,
        mut permit: Permit,
    ) -> Result<(Bytes, Permit), Problem> {
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let incomplete = |_| Problem::new(Code::BodyIncomplete, "the connection ended inside the body");
            let Ok(data) = frame.map_err(incomplete)?.into_data() else { continue };
            let received = first.len() + rest.len() + data.len();
            if received > self.body_bytes_max {
                return Err(self.too_large());
            }
            if received > announced && !permit.grow(2 * data.len()) {
                return Err(overloaded());
            }
            if first.is_empty() && rest.is_empty() {
                first = data;
            } else {
                if rest.is_empty() {
                    rest.reserve(announced.max(received));
                    rest.extend_from_slice(&std::mem::take(&mut first));
                }
                rest.extend_from_slice(&data);
            }
        }
        Ok((if rest.is_empty() { first } else { rest.freeze() }, permit))
    }

    fn too_large(&self) -> Problem {
        let detail =
            format!("a body may have at most {} bytes; send fewer events at once", self.body_bytes_max);
        Problem::new(Code::BodyTooLarge, detail)
    }
}

/// The bytes that a body announces to have (RFC 9110 §8.6).
pub(super) fn announced_bytes(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads what is left of a body that was refused, and keeps nothing of it: a connection that is closed upon a
/// client that is still sending loses the answer on its way. A client that waits for our word sends nothing.
pub async fn discard(headers: &HeaderMap, mut body: Incoming) {
    if headers.contains_key(EXPECT) {
        return;
    }
    let rest = async {
        let mut bytes = 0;
        while let Some(Ok(frame)) = body.frame().await {
            bytes += frame.data_ref().map_or(0, Bytes::len);
            if bytes > DISCARDED_BYTES_MAX {
                break;
            }
        }
    };
    // Who takes longer than this gets no answer, as before.
    drop(tokio::time::timeout(DISCARD_TIMEOUT, rest).await);
}

const DISCARDED_BYTES_MAX: usize = 64 << 20;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

/// What is told when the budget is spent.
pub fn overloaded() -> Problem {
    Problem::new(Code::Overloaded, "too many bytes in flight; try again in a moment")
}
