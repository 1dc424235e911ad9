//! The floor under every figure of the bench: a server that reads as many bytes and answers as many, and does nothing else.
//! One thread, epoll, no HTTP: what even a perfect gateway pays the kernel for one request.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

use clap::Parser;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use weir_tests::bench::Result;

const LISTENER: Token = Token(usize::MAX);

/// Answers each `request_bytes` bytes with a 200 and a body of `answer_bytes`.
#[derive(Parser)]
struct Flags {
    /// The address to listen on.
    listen: SocketAddr,
    /// The length of every request, head included.
    request_bytes: usize,
    /// The length of every answer's body.
    answer_bytes: usize,
}

struct Client {
    stream: TcpStream,
    /// Of the request that is coming in.
    read: usize,
    /// What the socket would not take yet.
    unsent: Vec<u8>,
}

fn main() -> Result<()> {
    let flags = Flags::parse();
    let mut answer =
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", flags.answer_bytes).into_bytes();
    answer.resize(answer.len() + flags.answer_bytes, b' ');
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind(flags.listen)?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut clients: Vec<Option<Client>> = Vec::new();
    let mut events = Events::with_capacity(1024);
    let mut scratch = vec![0; 128 * 1024];
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                accept(&listener, &poll, &mut clients)?;
            } else if let Some(slot) = clients.get_mut(event.token().0) {
                let alive =
                    slot.as_mut().is_some_and(|it| it.serve(flags.request_bytes, &answer, &mut scratch));
                if !alive {
                    *slot = None;
                }
            }
        }
    }
}

fn accept(listener: &TcpListener, poll: &Poll, clients: &mut Vec<Option<Client>>) -> Result<()> {
    loop {
        match listener.accept() {
            Ok((mut stream, _)) => {
                let interest = Interest::READABLE | Interest::WRITABLE;
                poll.registry().register(&mut stream, Token(clients.len()), interest)?;
                clients.push(Some(Client { stream, read: 0, unsent: Vec::new() }));
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(e) => return Err(e.into()),
        }
    }
}

impl Client {
    /// Reads and answers what it can; `false` when the connection is over.
    fn serve(&mut self, request_bytes: usize, answer: &[u8], scratch: &mut [u8]) -> bool {
        loop {
            match self.stream.read(scratch) {
                Ok(0) => return false,
                Ok(n) => self.read += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return self.flush(),
                Err(_) => return false,
            }
            while self.read >= request_bytes {
                self.read -= request_bytes;
                self.unsent.extend_from_slice(answer);
            }
        }
    }

    fn flush(&mut self) -> bool {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(n) => drop(self.unsent.drain(..n)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
        true
    }
}
