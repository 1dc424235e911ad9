//! One keep-alive HTTP/1.1 connection with at most one request in flight, as cheap as a client can be.
//! It reads the status and skips the body; it knows only answers with a `content-length`.

use std::io::{self, ErrorKind, Read, Write};

use mio::net::TcpStream;

use super::payload::Request;

/// A larger head is a broken answer.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// A non-blocking connection and the request buffer it patches and sends again and again.
pub struct Connection {
    /// For the poll's registry.
    pub stream: TcpStream,
    /// To be numbered before [`Connection::start`].
    pub request: Request,
    sent: usize,
    answer: Answer,
}

enum Answer {
    Head(Vec<u8>),
    Body { told: Told, left: usize },
}

/// What an answer's head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Its status.
    pub status: u16,
    /// Whether it says when to come again.
    pub retry_after: bool,
}

impl Connection {
    /// Wraps a stream whose connect may still be under way.
    pub fn new(stream: TcpStream, request: Request) -> Connection {
        let sent = request.bytes().len();
        Connection { stream, request, sent, answer: Answer::Head(Vec::new()) }
    }

    /// Begins to send the request; the previous one has been answered.
    pub fn start(&mut self) -> io::Result<()> {
        self.sent = 0;
        self.write()
    }

    /// Goes on after a readiness event: what the head said, once the whole answer has been read.
    pub fn drive(&mut self, scratch: &mut [u8]) -> io::Result<Option<Told>> {
        self.write()?;
        loop {
            match self.stream.read(scratch) {
                Ok(0) => {
                    return Err(io::Error::new(ErrorKind::UnexpectedEof, "the gateway closed a connection"));
                }
                Ok(n) => {
                    if let Some(told) = self.answer.take(&scratch[..n])? {
                        return Ok(Some(told));
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    fn write(&mut self) -> io::Result<()> {
        while self.sent < self.request.bytes().len() {
            match self.stream.write(&self.request.bytes()[self.sent..]) {
                Ok(n) => self.sent += n,
                // NotConnected: the connect is still under way, and a writable event will follow.
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    return Ok(());
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

impl Answer {
    /// Takes what was read; what the head said when that was the answer's end. Resets itself for the next one.
    fn take(&mut self, mut read: &[u8]) -> io::Result<Option<Told>> {
        if let Answer::Head(head) = self {
            head.extend_from_slice(read);
            let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") else {
                return if head.len() > HEAD_BYTES_MAX { Err(broken("an endless head")) } else { Ok(None) };
            };
            let (told, length) =
                parse_head(&head[..end]).ok_or_else(|| broken("a head without status or length"))?;
            let of_body = head.len() - (end + 4);
            read = &read[read.len() - of_body..];
            *self = Answer::Body { told, left: length };
        }
        let Answer::Body { told, left } = self else { return Ok(None) };
        *left = left.checked_sub(read.len()).ok_or_else(|| broken("more bytes than its content-length"))?;
        if *left > 0 {
            return Ok(None);
        }
        let told = *told;
        *self = Answer::Head(Vec::new());
        Ok(Some(told))
    }
}

fn parse_head(head: &[u8]) -> Option<(Told, usize)> {
    let head = std::str::from_utf8(head).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let (mut length, mut retry_after) = (None, false);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok();
        }
        retry_after |= name.eq_ignore_ascii_case("retry-after");
    }
    Some((Told { status, retry_after }, length?))
}

fn broken(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("an answer with {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_in_any_pieces_ends_at_its_length() {
        let bytes = b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 5\r\n\r\nhello";
        let told = Some(Told { status: 503, retry_after: true });
        for cut in 0..bytes.len() {
            let mut answer = Answer::Head(Vec::new());
            assert_eq!(answer.take(&bytes[..cut]).expect("well-formed"), None, "cut at {cut}");
            assert_eq!(answer.take(&bytes[cut..]).expect("well-formed"), told, "cut at {cut}");
            assert_eq!(answer.take(bytes).expect("well-formed"), told, "reusable after a cut at {cut}");
        }
    }

    #[test]
    fn more_than_its_length_is_an_error() {
        let mut answer = Answer::Head(Vec::new());
        assert!(answer.take(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nab").is_err());
    }
}
