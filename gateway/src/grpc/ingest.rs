//! `Publish`: a message becomes the pipeline's request, and the pipeline's answer a message.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use http::{Extensions, HeaderMap, Request, Response};
use hyper::body::Incoming;

use super::message::Message;
use super::{Grpc, Refused, api, deadline, reply};
use crate::event::frame::Framing;
use crate::event::protobuf;
use crate::http::doors::Door;
use crate::http::gate::{Caller, Entry, without_credentials};
use crate::http::summary::Summary;
use crate::pipeline::{self, Answer, Ending, Paid, Shape};
use crate::problem::{Code, Problem};

/// The number of the field `route` in the messages that hold events.
const ROUTE: u64 = 2;

impl Grpc {
    pub(super) async fn publish(
        &self,
        request: Request<Incoming>,
        summary: &mut Summary,
    ) -> Result<Response<Body>, Refused> {
        summary.door = Some(Door::PostEvents);
        let deadline = deadline::of(request.headers())?;
        // Whoever may send nothing has nothing read of it.
        let entry = self.gate.enter(None, Caller::new(request.headers(), request.extensions()))?;
        summary.entered(&entry);
        let (head, messages) = self.messages(request)?;
        let begun = Instant::now();
        let message = messages.only(deadline, self.gate.quota(&entry)).await?;
        summary.read = Some(begun.elapsed());
        let answer = self.take(message, head.headers, &head.extensions, deadline).await?;
        summary.settled(&answer);
        match of_the_call(&answer) {
            Some(problem) => Err(problem.clone().into()),
            None => Ok(reply::message(&api::PublishResponse { results: reply::results(&answer) })),
        }
    }

    /// Takes a message's events to their endings.
    pub(super) async fn take(
        &self,
        message: Message,
        mut headers: HeaderMap,
        extensions: &Extensions,
        deadline: Option<Instant>,
    ) -> Result<Answer, Problem> {
        let Message { bytes: body, permit, paid } = message;
        let path = Some(protobuf::text_of(&body, ROUTE)?).filter(|path| !path.is_empty());
        let entry = self.gate.enter(path, Caller::new(&headers, extensions))?;
        // Where a route takes signed events only, the signature is that of the message.
        self.gate.verify(&entry, &headers, &body)?;
        let paid = match (paid, self.gate.quota(&entry)) {
            (Some(paid), Some(quota)) if Arc::ptr_eq(&paid, quota) => Paid::Bytes,
            _ => Paid::Nothing,
        };
        let Entry { sender, route, .. } = entry;
        without_credentials(&mut headers);
        let (shape, framing, strict) = (Shape::Protobuf, Framing::Protobuf, false);
        let span = extensions.get().cloned();
        let request =
            pipeline::Request { sender, route, shape, framing, strict, headers, body, permit, paid, span };
        self.worker.run_until(request, deadline).await
    }
}

/// The problem that answers the call as a whole: that of an event alone, or that none was begun with in time.
pub(super) fn of_the_call(answer: &Answer) -> Option<&Problem> {
    let late =
        |ending: &Ending| matches!(ending, Ending::Refused(problem) if problem.code == Code::DeadlinePassed);
    match answer.endings.first() {
        Some(Ending::Refused(first)) if answer.endings.len() == 1 || answer.endings.iter().all(late) => {
            Some(first)
        }
        _ => None,
    }
}
