//! The content codings: which one a request names, and a decoder for each that goes step by step. How much may come
//! out, and what a body may look like as a whole, is not asked here.

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::{Decompress, FlushDecompress, Status};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

/// The codings we undo (RFC 9110 §8.4.1, RFC 8878, RFC 7932).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    Zstd,
    Brotli,
}

/// What zstd may look back for, as a power of two: 8 MiB, as RFC 9659 has it for HTTP.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// A gzip decoder's window and tables, about.
const GZIP_BYTES: usize = 64 << 10;
/// Gzip members and zstd frames of one body, skippable and empty ones included: tools that compress in parallel
/// write one for each 128 KiB or so.
const MEMBERS_MAX: usize = 256;

/// What a request's body is coded with; the `Err` is for what we do not undo: another coding, or several.
pub(super) fn named(headers: &HeaderMap) -> Result<Option<Coding>, ()> {
    let mut found = None;
    for value in headers.get_all(CONTENT_ENCODING) {
        for name in value.to_str().map_err(drop)?.split(',').map(str::trim) {
            let coding = match name.to_ascii_lowercase().as_str() {
                "" | "identity" => continue,
                "gzip" | "x-gzip" => Coding::Gzip,
                "zstd" => Coding::Zstd,
                "br" => Coding::Brotli,
                _ => return Err(()),
            };
            if found.replace(coding).is_some() {
                return Err(());
            }
        }
    }
    Ok(found)
}

/// How far one step came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Bytes of the input that are done with.
    pub(super) read: usize,
    /// Bytes of output.
    pub(super) written: usize,
    /// Whether a member is complete, its checksum right and its output written.
    pub(super) ended: bool,
}

/// The input is not of this coding.
#[derive(Clone, Copy, Debug)]
pub(super) struct Malformed;

/// Undoes one coding. A step without any progress wants more input.
pub(super) trait Decoder {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, Malformed>;
    /// What it keeps in memory beside its input and its output, in bytes.
    fn held_bytes(&self) -> usize;
}

impl Coding {
    /// How many members one body may have.
    pub(super) fn members_max(self) -> usize {
        match self {
            Coding::Gzip | Coding::Zstd => MEMBERS_MAX,
            Coding::Brotli => 1,
        }
    }

    /// What the body says of its own decoded size.
    pub(super) fn announced_bytes(self, body: &[u8]) -> Option<u64> {
        match self {
            Coding::Zstd => zstd_safe::get_frame_content_size(body).ok().flatten(),
            Coding::Gzip | Coding::Brotli => None,
        }
    }

    /// A decoder for this body.
    pub(super) fn decoder(self, body: &[u8]) -> Result<Box<dyn Decoder>, Malformed> {
        Ok(match self {
            Coding::Gzip => Box::new(Gzip(gzip_member())),
            Coding::Zstd => {
                let mut context = DCtx::try_create().ok_or(Malformed)?;
                let window = DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX);
                context.set_parameter(window).map_err(|_| Malformed)?;
                Box::new(Zstd(context))
            }
            Coding::Brotli => {
                let allocator = StandardAlloc::default;
                let state = BrotliState::new(allocator(), allocator(), allocator());
                Box::new(Brotli { state, window: brotli_window(body) })
            }
        })
    }
}

struct Gzip(Decompress);

/// With the largest window, 32 KiB; its header, checksum and length are checked, too.
fn gzip_member() -> Decompress {
    Decompress::new_gzip(15)
}

impl Decoder for Gzip {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, Malformed> {
        let (read, written) = (self.0.total_in(), self.0.total_out());
        let status = self.0.decompress(input, output, FlushDecompress::None).map_err(|_| Malformed)?;
        let since = |total: u64, before: u64| usize::try_from(total - before).map_err(|_| Malformed);
        let (read, written) = (since(self.0.total_in(), read)?, since(self.0.total_out(), written)?);
        let ended = status == Status::StreamEnd;
        if ended {
            self.0 = gzip_member();
        }
        Ok(Step { read, written, ended })
    }

    fn held_bytes(&self) -> usize {
        GZIP_BYTES
    }
}

struct Zstd(DCtx<'static>);

impl Decoder for Zstd {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, Malformed> {
        let (mut input, mut output) = (InBuffer::around(input), OutBuffer::around(output));
        let missing = self.0.decompress_stream(&mut output, &mut input).map_err(|_| Malformed)?;
        Ok(Step { read: input.pos(), written: output.pos(), ended: missing == 0 })
    }

    fn held_bytes(&self) -> usize {
        self.0.sizeof()
    }
}

struct Brotli {
    state: BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    window: usize,
}

impl Decoder for Brotli {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, Malformed> {
        let (mut unread, mut room) = (input.len(), output.len());
        let (mut read, mut written, mut total) = (0, 0, 0);
        let result = BrotliDecompressStream(
            &mut unread,
            &mut read,
            input,
            &mut room,
            &mut written,
            output,
            &mut total,
            &mut self.state,
        );
        match result {
            BrotliResult::ResultFailure => Err(Malformed),
            result => Ok(Step { read, written, ended: matches!(result, BrotliResult::ResultSuccess) }),
        }
    }

    fn held_bytes(&self) -> usize {
        self.window
    }
}

/// The window, which is allocated whole, in bytes: its size is in a body's first byte (RFC 7932 §9.1).
fn brotli_window(body: &[u8]) -> usize {
    let first = body.first().copied().unwrap_or_default();
    let bits = match (first & 1, (first >> 1) & 7, (first >> 4) & 7) {
        (0, ..) => 16,
        (_, 0, 0) => 17,
        (_, 0, bits) => 8 + bits,
        (_, bits, _) => 17 + bits,
    };
    1 << bits
}
