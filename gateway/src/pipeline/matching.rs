//! CloudEvents that came without a route in their path: each is matched by its own attributes. The events of a batch
//! may belong to several routes; then each route gets a batch of its own, in the order sent.

use std::sync::Arc;
use std::time::Instant;

use bumpalo::Bump;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::future::join_all;

use super::outcome::InFlight;
use super::{Answer, Paid, Request, Shape, Worker};
use crate::event::frame::{Framing, frame};
use crate::event::{RawEvent, protobuf};
use crate::problem::{Code, Problem};
use crate::route::Route;

/// The events of a batch that one route takes, by their places in it.
pub(super) struct Part {
    pub(super) route: Arc<Route>,
    pub(super) indices: Vec<usize>,
}

impl Worker {
    /// Takes the events of a request without a route to their endings.
    pub(super) async fn match_routes(
        &self,
        mut request: Request,
        deadline: Option<Instant>,
    ) -> Result<Answer, Problem> {
        let body = request.body.clone();
        let frames = frame(&body, request.framing, &self.shared.limits)?;
        if !frames.batch {
            let event = frames.events.first().copied().unwrap_or(RawEvent { bytes: &body, index: None });
            let route = self.route_of(&request, event).map_err(|problem| self.refuse(problem, 1))?;
            return self.accept(&route, request, deadline).await;
        }
        let (parts, refused) = self.divide(&request, &frames.events);
        if let [only] = parts.as_slice()
            && refused.is_empty()
        {
            return self.accept(&only.route, request, deadline).await;
        }
        if request.strict && !frames.events.is_empty() {
            let detail = "its events do not all belong to one route; post it to /v1/events/{route}";
            return Err(self.refuse(Problem::new(Code::BatchRefused, detail), frames.events.len()));
        }
        let events = frames.events.len();
        self.charge(&request, None, events).map_err(|problem| self.refuse(problem, events))?;
        // Where nobody was asked who they are, each route's tenant pays for its part.
        let paid = if request.sender.tenant().is_some() { Paid::All } else { Paid::Nothing };
        let refused = refused.into_iter().map(|(index, problem)| (index, self.refuse(problem, 1)));
        let mut refused: Vec<_> = refused.collect();
        let accepting = parts.into_iter().map(|part| {
            let (body, framing) = batch_of(request.shape, &part.indices, &frames.events);
            let permit = request.permit.split(2 * body.len());
            let headers = request.headers.clone();
            let own = Request {
                sender: Arc::clone(&request.sender),
                route: None,
                shape: request.shape,
                framing,
                strict: false,
                headers,
                body,
                permit,
                paid,
                span: request.span.clone(),
            };
            async move { (part.indices, self.accept(&part.route, own, deadline).await) }
        });
        let mut answered = Vec::new();
        for (indices, answer) in join_all(accepting).await {
            match answer {
                Ok(answer) => answered.push((indices, answer)),
                Err(problem) => refused.extend(indices.into_iter().map(|index| (index, problem.clone()))),
            }
        }
        Ok(Answer::merge(answered, refused))
    }

    /// The events of a batch by their routes, and those that no route takes.
    pub(super) fn divide(
        &self,
        request: &Request,
        events: &[RawEvent<'_>],
    ) -> (Vec<Part>, Vec<(usize, Problem)>) {
        let (mut parts, mut refused) = (Vec::<Part>::new(), Vec::new());
        for (index, event) in events.iter().enumerate() {
            match self.route_of(request, *event) {
                Ok(route) => match parts.iter_mut().find(|part| Arc::ptr_eq(&part.route, &route)) {
                    Some(part) => part.indices.push(index),
                    None => parts.push(Part { route, indices: vec![index] }),
                },
                Err(problem) => refused.push((index, problem)),
            }
        }
        (parts, refused)
    }

    /// The route that takes this event of a request.
    pub(super) fn route_of(&self, request: &Request, event: RawEvent<'_>) -> Result<Arc<Route>, Problem> {
        let arena = Bump::new();
        let parser = &mut self.bench.borrow_mut().parser;
        let event = match request.shape {
            Shape::Structured => parser.structured(&arena, event, &request.headers)?,
            Shape::Binary => parser.binary(&arena, event, &request.headers)?,
            Shape::Protobuf => parser.protobuf(&arena, event, &request.headers)?,
            Shape::Plain => {
                return Err(Problem::new(
                    Code::UnknownRoute,
                    "only CloudEvents find their route by themselves",
                ));
            }
        };
        self.shared.routes.matching(event.attributes(), &request.sender).cloned()
    }

    /// Counts events that no route takes.
    fn refuse(&self, problem: Problem, events: usize) -> Problem {
        InFlight::new(Arc::clone(self.shared.metrics_of(None)), events).refuse(problem)
    }
}

/// A batch of these events, whose bytes stay as they are.
pub(super) fn batch_of(shape: Shape, indices: &[usize], events: &[RawEvent<'_>]) -> (Bytes, Framing) {
    let events = || indices.iter().filter_map(|index| events.get(*index));
    if shape == Shape::Protobuf {
        return (protobuf::batch(events().map(|event| event.bytes)), Framing::Protobuf);
    }
    let mut body = BytesMut::with_capacity(2 + events().map(|event| event.bytes.len() + 1).sum::<usize>());
    body.put_u8(b'[');
    for (index, event) in events().enumerate() {
        if index > 0 {
            body.put_u8(b',');
        }
        body.put_slice(event.bytes);
    }
    body.put_u8(b']');
    (body.freeze(), Framing::Batch)
}
