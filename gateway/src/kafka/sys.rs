//! The calls around librdkafka that no crate wraps, and the only `unsafe` of this crate's Kafka side.
//! Each takes safe types and returns plain values.

#![expect(unsafe_code, reason = "FFI calls on pointers that rdkafka owns and keeps alive for the call")]

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_void};
use std::fmt;
use std::io;
use std::panic::resume_unwind;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::BorrowedMessage;
use rdkafka::producer::{BaseProducer, Producer as _, ProducerContext};
use rdkafka::util::IntoOpaque as _;
use rdkafka_sys as sys;
use rdkafka_sys::rd_kafka_admin_op_t as AdminOp;
use rdkafka_sys::rd_kafka_msg_status_t as Status;
use rdkafka_sys::rd_kafka_vtype_t as Field;
use tokio::sync::Notify;

use super::delivery::Slot;
use super::producer::Outgoing;

/// Whether a record that was reported on may be in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// Never sent, or refused by the broker.
    No,
    /// Sent, and the answer was lost.
    Possibly,
    /// Acknowledged.
    Yes,
}

/// `rd_kafka_message_status`: valid inside a delivery report.
pub fn persistence(message: &BorrowedMessage<'_>) -> Persistence {
    // SAFETY: the pointer is the live message behind `message`; the call only reads a field of it.
    let status = unsafe { rdkafka_sys::rd_kafka_message_status(message.ptr()) };
    match status {
        Status::RD_KAFKA_MSG_STATUS_NOT_PERSISTED => Persistence::No,
        Status::RD_KAFKA_MSG_STATUS_POSSIBLY_PERSISTED => Persistence::Possibly,
        Status::RD_KAFKA_MSG_STATUS_PERSISTED => Persistence::Yes,
    }
}

/// A topic as a producer knows it (`rd_kafka_topic_t`). Who names a topic by this spares librdkafka a search
/// under its one lock for each record.
pub struct TopicHandle<C: ProducerContext + 'static> {
    topic: NonNull<sys::rd_kafka_topic_t>,
    /// What the topic belongs to; dropped after it.
    producer: Arc<BaseProducer<C>>,
}

// SAFETY: librdkafka's topics may be used from any thread; they are reference-counted under its own locks.
unsafe impl<C: ProducerContext + 'static> Send for TopicHandle<C> {}
// SAFETY: as above.
unsafe impl<C: ProducerContext + 'static> Sync for TopicHandle<C> {}

impl<C: ProducerContext + 'static> TopicHandle<C> {
    /// `rd_kafka_topic_new` with the producer's settings; `None` if librdkafka does not take the name.
    pub fn new(producer: &Arc<BaseProducer<C>>, name: &CStr) -> Option<Self> {
        // SAFETY: both pointers live through the call, and librdkafka copies the name.
        let topic = unsafe {
            sys::rd_kafka_topic_new(producer.client().native_ptr(), name.as_ptr(), ptr::null_mut())
        };
        Some(TopicHandle { topic: NonNull::new(topic)?, producer: Arc::clone(producer) })
    }
}

impl<C: ProducerContext + 'static> Drop for TopicHandle<C> {
    fn drop(&mut self) {
        // SAFETY: the reference is the one that `new` got, and its producer is still there.
        unsafe { sys::rd_kafka_topic_destroy(self.topic.as_ptr()) };
    }
}

impl<C: ProducerContext + 'static> fmt::Debug for TopicHandle<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicHandle").finish_non_exhaustive()
    }
}

/// The queue in which a producer's delivery reports, errors and logs wait to be taken (`rd_kafka_queue_t`).
pub struct Reports<C: ProducerContext + 'static> {
    queue: NonNull<sys::rd_kafka_queue_t>,
    /// Rung by librdkafka's threads; outlives the queue's knowledge of it.
    _bell: Arc<Notify>,
    /// What the queue belongs to; dropped after it.
    producer: Arc<BaseProducer<C>>,
}

// SAFETY: librdkafka's queues may be used from any thread; they are locked and reference-counted.
unsafe impl<C: ProducerContext + 'static> Send for Reports<C> {}
// SAFETY: as above.
unsafe impl<C: ProducerContext + 'static> Sync for Reports<C> {}

impl<C: ProducerContext + 'static> Reports<C> {
    /// `rd_kafka_queue_get_main` with `rd_kafka_queue_cb_event_enable`: the bell rings whenever the queue was empty
    /// and is no longer, so who hears it has to empty the queue. It has rung once already.
    pub fn new(producer: &Arc<BaseProducer<C>>, bell: &Arc<Notify>) -> Self {
        // SAFETY: the producer lives, so it has a main queue. The callback's argument is kept alive beside the
        // queue, and `drop` takes it back first; librdkafka calls it under the queue's lock, as it takes it back.
        let queue = unsafe {
            let queue = sys::rd_kafka_queue_get_main(producer.client().native_ptr());
            sys::rd_kafka_queue_cb_event_enable(queue, Some(ring), Arc::as_ptr(bell).cast_mut().cast());
            NonNull::new(queue).expect("a producer has a main queue")
        };
        bell.notify_one();
        Reports { queue, _bell: Arc::clone(bell), producer: Arc::clone(producer) }
    }

    /// The producer whose reports these are.
    pub fn producer(&self) -> &Arc<BaseProducer<C>> {
        &self.producer
    }

    /// `rd_kafka_queue_length`: whether there is something to take.
    pub fn waiting(&self) -> bool {
        // SAFETY: the queue is ours until `drop`.
        unsafe { sys::rd_kafka_queue_length(self.queue.as_ptr()) > 0 }
    }

    /// Takes one batch: calls the producer's context for each of its reports.
    pub fn take_batch(&self) {
        self.producer.poll(Duration::ZERO);
    }
}

impl<C: ProducerContext + 'static> Drop for Reports<C> {
    fn drop(&mut self) {
        // SAFETY: the reference is the one that `new` got, and its producer is still there.
        unsafe {
            sys::rd_kafka_queue_cb_event_enable(self.queue.as_ptr(), None, ptr::null_mut());
            sys::rd_kafka_queue_destroy(self.queue.as_ptr());
        }
    }
}

/// Called by librdkafka's threads.
unsafe extern "C" fn ring(_: *mut sys::rd_kafka_t, bell: *mut c_void) {
    // SAFETY: `bell` is the pointer that `Reports::new` registered, and alive until its `drop`.
    let bell: &Notify = unsafe { &*bell.cast() };
    bell.notify_one();
}

/// `rd_kafka_producev`: puts a record into librdkafka's queue without waiting. rdkafka's own `send` allocates a C
/// string for the topic and for each header, which is half the allocations of an event, and copies the value.
///
/// The slot comes back with the delivery report, or from here if librdkafka does not take the record.
pub fn produce<C: ProducerContext<DeliveryOpaque = Box<Slot>> + 'static>(
    topic: &TopicHandle<C>,
    record: &Outgoing<'_>,
    slot: Box<Slot>,
) -> Result<(), (RDKafkaErrorCode, Box<Slot>)> {
    let key = record.key.map(str::as_bytes);
    let copy = if slot.keeps(record.value) { 0 } else { sys::RD_KAFKA_MSG_F_COPY };
    let slot = slot.into_ptr();
    // SAFETY: the topic belongs to the producer beside it. Every other pointer is that of a live slice beside
    // its length, and librdkafka copies what it points at before it returns, but for the value unless it is told
    // to: then the slot keeps the value's bytes, and librdkafka holds the slot until it is done with the record.
    // The argument types are those that `rdkafka.h` lists for each field. The headers are librdkafka's once it
    // took the record, and ours to free if not; the same holds for the slot, which was made by the `into_ptr`
    // that belongs to this `from_ptr`.
    unsafe {
        let headers = sys::rd_kafka_headers_new(record.headers.len());
        for (name, value) in record.headers {
            sys::rd_kafka_header_add(
                headers,
                name.as_ptr().cast(),
                name.len().cast_signed(),
                value.as_ptr().cast(),
                value.len().cast_signed(),
            );
        }
        let error = sys::rd_kafka_producev(
            topic.producer.client().native_ptr(),
            Field::RD_KAFKA_VTYPE_RKT,
            topic.topic.as_ptr(),
            Field::RD_KAFKA_VTYPE_PARTITION,
            record.partition,
            Field::RD_KAFKA_VTYPE_MSGFLAGS,
            copy,
            Field::RD_KAFKA_VTYPE_VALUE,
            record.value.as_ptr(),
            record.value.len(),
            Field::RD_KAFKA_VTYPE_KEY,
            key.map_or(ptr::null(), <[u8]>::as_ptr),
            key.map_or(0, <[u8]>::len),
            Field::RD_KAFKA_VTYPE_OPAQUE,
            slot,
            Field::RD_KAFKA_VTYPE_TIMESTAMP,
            record.time_ms,
            Field::RD_KAFKA_VTYPE_HEADERS,
            headers,
            Field::RD_KAFKA_VTYPE_END,
        );
        if error == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Ok(());
        }
        sys::rd_kafka_headers_destroy(headers);
        Err((error.into(), Box::from_ptr(slot)))
    }
}

/// `rd_kafka_DescribeTopics`: the ids of topics, by name. A topic made anew under the same name has another one. Topics
/// of which the broker does not tell it (before Kafka 2.8, or the mock cluster) are absent. Blocks its thread.
pub fn topic_ids<C: ClientContext>(
    client: &Client<C>,
    topics: &[&CStr],
    timeout: Duration,
) -> HashMap<String, String> {
    let mut names: Vec<*const c_char> = topics.iter().map(|name| name.as_ptr()).collect();
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let mut ids = HashMap::new();
    // SAFETY: the client outlives the call, and the names are live C strings that librdkafka copies. What is made here
    // is destroyed here, in the reverse order; what a result points at lives as long as its event. A poll of a queue of
    // our own only returns our own event, or none.
    unsafe {
        let handle = client.native_ptr();
        let collection = sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
        let options = sys::rd_kafka_AdminOptions_new(handle, AdminOp::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        sys::rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, ptr::null_mut(), 0);
        let queue = sys::rd_kafka_queue_new(handle);
        sys::rd_kafka_DescribeTopics(handle, collection, options, queue);
        let event = sys::rd_kafka_queue_poll(queue, timeout_ms);
        if !event.is_null() {
            let result = sys::rd_kafka_event_DescribeTopics_result(event);
            let mut count = 0;
            let described = match result.is_null() {
                true => ptr::null_mut(),
                false => sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count),
            };
            for index in 0..count {
                let topic = *described.add(index);
                let error = sys::rd_kafka_error_code(sys::rd_kafka_TopicDescription_error(topic));
                if error == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                    let name = CStr::from_ptr(sys::rd_kafka_TopicDescription_name(topic));
                    let id = sys::rd_kafka_Uuid_base64str(sys::rd_kafka_TopicDescription_topic_id(topic));
                    let id = CStr::from_ptr(id).to_string_lossy().into_owned();
                    ids.insert(name.to_string_lossy().into_owned(), id);
                }
            }
            sys::rd_kafka_event_destroy(event);
        }
        sys::rd_kafka_queue_destroy(queue);
        sys::rd_kafka_AdminOptions_destroy(options);
        sys::rd_kafka_TopicCollection_destroy(collection);
    }
    ids.retain(|_, id| id != NO_TOPIC_ID);
    ids
}

/// Sixteen zero bytes in base64: the broker does not tell.
const NO_TOPIC_ID: &str = "AAAAAAAAAAAAAAAAAAAAAA";

/// `sched_setscheduler(2)` with `SCHED_BATCH`, for this thread and those it starts: when they wake they wait for
/// whoever runs on their core to pause, instead of interrupting. Where cores are idle it changes nothing.
pub fn schedule_in_batches() {
    if let Err(error) = schedule(libc::SCHED_BATCH) {
        tracing::debug!(%error, "what runs beside the workers may interrupt them");
    }
}

/// Calls it on a thread of its own that is scheduled so, as is whatever it starts: librdkafka's threads are how the
/// thread that makes them is. A core that a worker shares with them goes to and fro between the two with every record
/// batch and every report, unless they wait for its pauses: then they do more at once.
pub fn in_batches<T: Send>(start: impl FnOnce() -> T + Send) -> T {
    on_thread(schedule_in_batches, start)
}

/// The same with `SCHED_OTHER`, for what must not wait, whoever starts it.
pub fn as_usual<T: Send>(start: impl FnOnce() -> T + Send) -> T {
    let as_usual = || {
        if let Err(error) = schedule(libc::SCHED_OTHER) {
            tracing::debug!(%error, "what must not wait may have to");
        }
    };
    on_thread(as_usual, start)
}

fn on_thread<T: Send>(schedule: impl FnOnce() + Send, start: impl FnOnce() -> T + Send) -> T {
    let start = || {
        schedule();
        start()
    };
    let started = std::thread::scope(|scope| scope.spawn(start).join());
    started.unwrap_or_else(|panic| resume_unwind(panic))
}

/// `sched_setscheduler(2)` with `SCHED_IDLE`, for this thread and those it starts: whoever else wakes gets the core at once.
pub fn schedule_when_idle() -> io::Result<()> {
    schedule(libc::SCHED_IDLE)
}

fn schedule(policy: libc::c_int) -> io::Result<()> {
    let normal = libc::sched_param { sched_priority: 0 };
    // SAFETY: the call reads the struct and changes nothing but how the calling thread (0) is scheduled.
    match unsafe { libc::sched_setscheduler(0, policy, &raw const normal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
