//! Request bodies that come compressed (RFC 9110 §8.4): one coding, undone piece by piece on the worker's thread.
//! What comes out is bounded in size and in its ratio to what went in, and charged to the byte budget before there
//! is memory for it. It does not read from connections, and an uncompressed body never gets here.

mod coding;

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;

use self::coding::{Coding, Malformed, Step};
use crate::event::budget::{Budget, Permit};
use crate::problem::{Code, Problem};

/// The codings, as an answer's `Accept-Encoding` names them.
pub(super) const ACCEPTED: &str = "gzip, zstd, br";

/// Output beyond [`FREE_BYTES`] for each byte of input. JSON events compress 5 to 30 times, for each has an id of
/// its own; bombs begin at several hundred.
const RATIO_MAX: usize = 100;
/// Output that any input may have: as much as the largest event of the default limits, so that no event by itself
/// meets the ratio, nor the array of equal events that somebody tries things out with.
const FREE_BYTES: usize = 1 << 20;
/// Input that may go by without any output: room for headers. Honest coders never write more than they were given,
/// and blocks of nothing are what costs most.
const UNPRODUCTIVE_BYTES: usize = 64 << 10;
/// Input and output of one step; then the worker looks at its other requests.
const STEP_INPUT_BYTES: usize = 16 << 10;
const PIECE_BYTES: usize = 64 << 10;

/// A body's coding.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Encoding(Coding);

impl Encoding {
    /// What the request says its body is coded with, if it is.
    pub(super) fn of(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let detail = "send the body as it is, or with one content-encoding of: gzip, zstd, br";
        let coding = coding::named(headers).map_err(|()| Problem::new(Code::UnsupportedEncoding, detail))?;
        Ok(coding.map(Encoding))
    }

    /// The coding of this name among those that gRPC has.
    pub(crate) fn of_grpc(name: &str) -> Option<Self> {
        match name {
            "gzip" => Some(Encoding(Coding::Gzip)),
            "zstd" => Some(Encoding(Coding::Zstd)),
            _ => None,
        }
    }

    /// Undoes it. At most `bytes_max` come out; the permit is theirs.
    pub(crate) async fn undo(
        self,
        body: &[u8],
        bytes_max: usize,
        budget: &Arc<Budget>,
    ) -> Result<(Bytes, Permit), Problem> {
        let bytes_max = bytes_max.min(FREE_BYTES.max(body.len().saturating_mul(RATIO_MAX)));
        let mut output = Output::new(bytes_max, budget)?;
        if self.0.announced_bytes(body).is_some_and(|bytes| bytes > bytes_max as u64) {
            return Err(output.too_large());
        }
        let mut decoder = self.0.decoder(body).map_err(malformed)?;
        let (mut at, mut members) = (0, 0);
        loop {
            let input = &body[at..body.len().min(at + STEP_INPUT_BYTES)];
            let room = output.room(decoder.held_bytes())?;
            let step = decoder.step(input, room).map_err(malformed)?;
            at += step.read;
            output.wrote(step.written)?;
            members += usize::from(step.ended);
            if step.ended && at == body.len() {
                break;
            }
            let stuck = step == Step { read: 0, written: 0, ended: false };
            if stuck && at == body.len() {
                return Err(bad("the compressed body ends too early"));
            }
            if stuck || members == self.0.members_max() || at > output.bytes + UNPRODUCTIVE_BYTES {
                return Err(malformed(Malformed));
            }
            tokio::task::yield_now().await;
        }
        drop(decoder);
        output.finish(budget)
    }
}

/// What has come out, in pieces: they are not copied while there may be more.
struct Output {
    pieces: Vec<Vec<u8>>,
    /// Bytes of the last piece that are written.
    filled: usize,
    bytes: usize,
    bytes_max: usize,
    /// For the pieces, and for the decoder.
    permit: Permit,
    decoder_bytes: usize,
}

impl Output {
    fn new(bytes_max: usize, budget: &Arc<Budget>) -> Result<Self, Problem> {
        let permit = budget.further_permit(0).ok_or_else(overloaded)?;
        Ok(Output { pieces: Vec::new(), filled: 0, bytes: 0, bytes_max, permit, decoder_bytes: 0 })
    }

    /// Room for the next bytes, charged before it is allocated: as much as may still come and one byte more, so that
    /// too much is noticed. `decoder_bytes` is what the decoder holds by now.
    fn room(&mut self, decoder_bytes: usize) -> Result<&mut [u8], Problem> {
        let full = self.pieces.last().is_none_or(|piece| piece.len() == self.filled);
        let piece_bytes = if full { PIECE_BYTES.min(self.bytes_max - self.bytes + 1) } else { 0 };
        if !self.permit.grow(piece_bytes + decoder_bytes.saturating_sub(self.decoder_bytes)) {
            return Err(overloaded());
        }
        self.decoder_bytes = self.decoder_bytes.max(decoder_bytes);
        if full {
            self.pieces.push(vec![0; piece_bytes]);
            self.filled = 0;
        }
        Ok(self.pieces.last_mut().map_or(&mut [], |piece| &mut piece[self.filled..]))
    }

    fn wrote(&mut self, bytes: usize) -> Result<(), Problem> {
        self.filled += bytes;
        self.bytes += bytes;
        if self.bytes > self.bytes_max { Err(self.too_large()) } else { Ok(()) }
    }

    /// One buffer, with a permit as any body has one.
    fn finish(mut self, budget: &Arc<Budget>) -> Result<(Bytes, Permit), Problem> {
        let permit = budget.further_permit(self.bytes).ok_or_else(overloaded)?;
        if let Some(last) = self.pieces.last_mut() {
            last.truncate(self.filled);
        }
        Ok((self.pieces.concat().into(), permit))
    }

    fn too_large(&self) -> Problem {
        let detail = format!("this body may have at most {} bytes once it is decompressed", self.bytes_max);
        Problem::new(Code::DecompressedTooLarge, detail)
    }
}

fn malformed(_: Malformed) -> Problem {
    bad("the body cannot be decompressed by its content-encoding")
}

fn bad(detail: &'static str) -> Problem {
    Problem::new(Code::BadEncoding, detail)
}

fn overloaded() -> Problem {
    Problem::new(Code::Overloaded, "too many bytes in flight; try again in a moment")
}

#[cfg(test)]
mod tests;
