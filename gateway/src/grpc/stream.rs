//! `PublishStream`: messages are worked on at the same time, as many as there is credit for, and acknowledged as they
//! settle. What was accepted is acknowledged before the stream ends, for whatever reason it does; if the client is gone, it
//! settles all the same.

use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream::{self, FuturesUnordered};
use futures_util::{Stream, StreamExt as _};
use http::request::Parts;
use http::{Request, Response};
use http_body_util::StreamBody;
use hyper::body::{Frame, Incoming};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tonic::Status;

use super::message::{Message, Messages};
use super::{Grpc, Refused, api, deadline, reply};
use crate::event::protobuf;
use crate::http::doors::Door;
use crate::http::gate::Caller;
use crate::http::lasting::Lasting;
use crate::http::summary::Summary;
use crate::problem::{Code, Problem};

/// Messages that a client may have sent and not seen acknowledged.
const CREDIT: usize = 64;
/// Then the client comes again, perhaps to another gateway.
const AGE_MAX: Duration = Duration::from_secs(4 * 3600);
/// The number of the field `sequence`.
const SEQUENCE: u64 = 3;

impl Grpc {
    pub(super) fn publish_stream(
        self: &Rc<Self>,
        request: Request<Incoming>,
        summary: &mut Summary,
    ) -> Result<Response<Body>, Refused> {
        summary.door = Some(Door::PostEvents);
        let deadline = deadline::of(request.headers())?;
        summary.entered(&self.gate.enter(None, Caller::new(request.headers(), request.extensions()))?);
        let (head, messages) = self.messages(request)?;
        // Acks that the client does not read hold up the stream, and nothing else.
        let (frames, receiver) = mpsc::channel(CREDIT);
        let session = Session { grpc: Rc::clone(self), head, deadline, frames };
        drop(tokio::task::spawn_local(session.run(messages)));
        let mut response = reply::response(body(receiver));
        response.extensions_mut().insert(Lasting(self.stopping.clone()));
        Ok(response)
    }
}

fn body(receiver: Receiver<Frame<Bytes>>) -> Body {
    let frames = stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|frame| (Ok::<_, Infallible>(frame), receiver))
    });
    Body::new(StreamBody::new(frames))
}

/// One stream, on the worker that took its connection.
struct Session {
    grpc: Rc<Grpc>,
    head: Parts,
    deadline: Option<Instant>,
    frames: Sender<Frame<Bytes>>,
}

/// The client has gone away.
struct Gone;

impl Session {
    async fn run(self, messages: Messages) {
        if let Ok(status) = self.serve(incoming(messages)).await {
            // Who is gone by now needs no status.
            drop(self.frames.send(Frame::trailers(reply::trailers(&status))).await);
        }
    }

    /// The status that the stream ends with. What is under way when this is dropped goes on, and nobody waits for it.
    async fn serve(&self, messages: impl Stream<Item = Result<Message, Problem>>) -> Result<Status, Gone> {
        let (mut messages, mut running) = (pin!(messages), FuturesUnordered::new());
        let mut stopping = self.grpc.stopping.clone();
        let age = Instant::now() + AGE_MAX;
        let until = self.deadline.map_or(age, |deadline| deadline.min(age));
        self.send(u32::try_from(CREDIT).unwrap_or(u32::MAX), None).await?;
        let end = loop {
            tokio::select! {
                biased;
                () = self.frames.closed() => return Err(Gone),
                Some(ack) = running.next() => self.send(1, Some(ack)).await?,
                _ = stopping.wait_for(|stop| *stop) => break reply::shutting_down(),
                () = tokio::time::sleep_until(until.into()) => break reply::status(&out_of_time(until < age)),
                message = messages.next() => match message {
                    None => break Status::ok(""),
                    Some(Ok(message)) if running.len() < CREDIT => running.push(self.take(message)),
                    Some(Ok(_)) => break reply::status(&over_credit()),
                    Some(Err(problem)) => break reply::status(&problem),
                },
            }
        };
        while let Some(ack) = running.next().await {
            self.send(1, Some(ack)).await?;
        }
        Ok(end)
    }

    async fn take(&self, message: Message) -> api::Ack {
        // What cannot be read has no number, and is refused below.
        let sequence = protobuf::number_of(&message.bytes, SEQUENCE).unwrap_or_default();
        let Parts { headers, extensions, .. } = &self.head;
        match self.grpc.take(message, headers.clone(), extensions, self.deadline).await {
            Ok(answer) => api::Ack { sequence, results: reply::results(&answer), problem: None },
            Err(problem) => {
                api::Ack { sequence, results: Vec::new(), problem: Some(reply::problem(&problem)) }
            }
        }
    }

    async fn send(&self, credit: u32, ack: Option<api::Ack>) -> Result<(), Gone> {
        let message = api::PublishStreamResponse { credit, ack };
        self.frames.send(Frame::data(reply::framed(&message))).await.map_err(|_| Gone)
    }
}

/// The client's messages, to its last one or to the first that cannot be had.
fn incoming(messages: Messages) -> impl Stream<Item = Result<Message, Problem>> {
    stream::unfold(
        messages,
        |mut messages| async move { Some((messages.next().await.transpose()?, messages)) },
    )
}

fn over_credit() -> Problem {
    Problem::new(Code::CreditExceeded, "this message was not looked at: wait for acks before you send more")
}

fn out_of_time(for_the_caller: bool) -> Problem {
    if for_the_caller {
        Problem::new(Code::DeadlinePassed, "what the stream had accepted is acknowledged")
    } else {
        Problem::new(Code::ShuttingDown, "a stream lasts for four hours; begin another")
    }
}
