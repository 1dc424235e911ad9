//! One keep-alive HTTP/1.1 connection that may break and is opened again, with at most one request in flight. It keeps
//! the answer's body, for who wants to look at it; the bench's own connection skips it and never breaks.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

const HEAD_BYTES_MAX: usize = 8 * 1024;

/// The connection, the request it sends and the answer it reads.
#[derive(Default)]
pub(super) struct Wire {
    stream: Option<TcpStream>,
    /// The request, whole.
    pub(super) request: Vec<u8>,
    sent: usize,
    inbox: Vec<u8>,
    head: Option<Head>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    hit: bool,
    body_at: usize,
    length: usize,
}

/// A whole answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer<'a> {
    pub(super) status: u16,
    /// It came from Valkey alone.
    pub(super) hit: bool,
    pub(super) body: &'a [u8],
}

impl Wire {
    pub(super) fn is_open(&self) -> bool {
        self.stream.is_some()
    }

    /// Begins to connect.
    pub(super) fn open(&mut self, to: SocketAddr, registry: &Registry, token: Token) -> io::Result<()> {
        let mut stream = TcpStream::connect(to)?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        self.stream = Some(stream);
        Ok(())
    }

    /// What was in flight is lost.
    pub(super) fn close(&mut self) {
        self.stream = None;
    }

    /// Begins to send the request; the one before it has been answered.
    pub(super) fn start(&mut self) -> io::Result<()> {
        self.sent = 0;
        self.inbox.clear();
        self.head = None;
        self.write()
    }

    /// Goes on after a readiness event; true once the whole answer is there.
    pub(super) fn drive(&mut self, scratch: &mut [u8]) -> io::Result<bool> {
        self.write()?;
        loop {
            let Some(stream) = &mut self.stream else { return Ok(false) };
            match stream.read(scratch) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    self.inbox.extend_from_slice(&scratch[..n]);
                    if self.is_complete()? {
                        return Ok(true);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// After [`Wire::drive`] has said so.
    pub(super) fn answer(&self) -> Answer<'_> {
        let head = self.head.expect("a whole answer");
        Answer { status: head.status, hit: head.hit, body: &self.inbox[head.body_at..] }
    }

    fn write(&mut self) -> io::Result<()> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        while self.sent < self.request.len() {
            match stream.write(&self.request[self.sent..]) {
                Ok(n) => self.sent += n,
                // NotConnected: the connect is still under way, and a writable event will follow.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn is_complete(&mut self) -> io::Result<bool> {
        if self.head.is_none() {
            let Some(end) = self.inbox.windows(4).position(|window| window == b"\r\n\r\n") else {
                let endless = self.inbox.len() > HEAD_BYTES_MAX;
                return if endless { Err(ErrorKind::InvalidData.into()) } else { Ok(false) };
            };
            let head = parse_head(&self.inbox[..end]).ok_or(ErrorKind::InvalidData)?;
            self.head = Some(Head { body_at: end + 4, ..head });
        }
        let Some(head) = self.head else { return Ok(false) };
        match self.inbox.len().cmp(&(head.body_at + head.length)) {
            std::cmp::Ordering::Less => Ok(false),
            std::cmp::Ordering::Equal => Ok(true),
            std::cmp::Ordering::Greater => Err(ErrorKind::InvalidData.into()),
        }
    }
}

fn parse_head(head: &[u8]) -> Option<Head> {
    let mut lines = std::str::from_utf8(head).ok()?.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let (mut length, mut hit) = (None, false);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse().ok()?);
        } else if name.eq_ignore_ascii_case("cache-status") {
            hit = value.trim() == "weir; hit";
        }
    }
    Some(Head { status, hit, body_at: 0, length: length? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_in_any_pieces_ends_at_its_length() {
        let bytes = b"HTTP/1.1 200 OK\r\nCache-Status: weir; hit\r\nContent-Length: 5\r\n\r\nhello";
        for cut in 0..bytes.len() {
            let mut wire = Wire::default();
            wire.inbox.extend_from_slice(&bytes[..cut]);
            assert!(!wire.is_complete().expect("well-formed"), "cut at {cut}");
            wire.inbox.extend_from_slice(&bytes[cut..]);
            assert!(wire.is_complete().expect("well-formed"), "cut at {cut}");
            let answer = wire.answer();
            assert_eq!((answer.status, answer.hit, answer.body), (200, true, &b"hello"[..]));
            wire.inbox.push(b'!');
            assert!(wire.is_complete().is_err(), "more than its length");
        }
    }

    #[test]
    fn an_answer_from_the_log_is_no_hit() {
        let head =
            parse_head(b"HTTP/1.1 200 OK\r\ncache-status: weir; fwd=stale\r\ncontent-length: 0").unwrap();
        assert_eq!((head.status, head.hit, head.length), (200, false, 0));
        assert_eq!(parse_head(b"HTTP/1.1 200 OK\r\n"), None);
    }
}
