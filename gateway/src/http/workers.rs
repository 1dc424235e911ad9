//! The workers: a current-thread runtime per core, each with its own connections, and the acceptor that
//! hands every new connection to the least loaded. A request never changes its thread.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures_util::future::LocalBoxFuture;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;

use super::addresses::{Addresses, Place};
use super::connection;
use super::tls::Tls;
use super::{Edge, Limits};
use crate::metrics::{Closed, Metrics};
use crate::pipeline::Seat;

/// With so many requests waiting for Kafka, a worker that has nothing to do sleeps for a moment before it looks
/// for more. Their acks are milliseconds away, and to be woken for each request on its own costs more than the
/// request: at 20 000 a second this takes a sixth off the CPU time of each, and adds 0.2 to 0.4 ms
/// to its answer.
const MODERATED_FROM: usize = 16;
const MODERATION: Duration = Duration::from_micros(250);

/// Connections that may wait for one worker.
const HANDOVER_MAX: usize = 1024;

/// Refusals of connections are told in the log this often at most.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// The running workers.
#[derive(Debug)]
pub struct Workers {
    workers: Vec<Running>,
    open: Arc<AtomicUsize>,
    addresses: Arc<Addresses>,
    limits: Limits,
    started: Instant,
}

#[derive(Debug)]
struct Running {
    connections: Mutex<Option<mpsc::Sender<Accepted>>>,
    load: Arc<AtomicUsize>,
    /// Milliseconds since the start, written by the worker's own loop.
    beat_ms: Arc<AtomicU64>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// A connection, and its place among those of its address.
type Accepted = (std::net::TcpStream, Place);

/// What a worker has on its own thread.
pub struct Post {
    /// What it keeps whatever the config says.
    pub seat: Rc<Seat>,
    /// What answers the next request.
    pub edge: Rc<RefCell<Rc<Edge>>>,
    /// Puts another one there whenever there is one; never ends.
    pub renewing: LocalBoxFuture<'static, ()>,
}

impl std::fmt::Debug for Post {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Post").field("seat", &self.seat).finish_non_exhaustive()
    }
}

/// Counts a connection for as long as it lives.
struct Counted(Arc<AtomicUsize>, Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
        self.1.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Workers {
    /// Starts `count` workers. `post` runs once on each of them, because what it makes belongs to its thread; it
    /// gets where its seat counts the requests that are not answered.
    pub fn start<F>(
        count: usize,
        limits: Limits,
        tls: Option<&Arc<Tls>>,
        stop: &watch::Receiver<bool>,
        post: F,
    ) -> io::Result<Self>
    where
        F: Fn(Arc<AtomicUsize>) -> Post + Clone + Send + 'static,
    {
        let (open, started) = (Arc::new(AtomicUsize::new(0)), Instant::now());
        let start = |index| {
            let (connections, receiver) = mpsc::channel(HANDOVER_MAX);
            let (load, beat_ms) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(0)));
            let running = Arc::new(AtomicUsize::new(0));
            let moderated = Arc::clone(&running);
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .max_blocking_threads(1)
                .on_thread_park(move || moderate(&moderated))
                .build()?;
            let (post, stop, tls) = (post.clone(), stop.clone(), tls.cloned());
            let counters = (Arc::clone(&load), Arc::clone(&open));
            let beat = beat(started, Arc::clone(&beat_ms));
            let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
                let work = async move {
                    let beating = tokio::task::spawn_local(beat);
                    run(receiver, post(running), tls, stop, counters).await;
                    beating.abort();
                };
                LocalSet::new().block_on(&runtime, work);
            })?;
            let connections = Mutex::new(Some(connections));
            Ok(Running { connections, load, beat_ms, thread: Mutex::new(Some(thread)) })
        };
        let workers = (0..count.max(1)).map(start).collect::<io::Result<_>>()?;
        Ok(Workers { workers, open, addresses: Arc::default(), limits, started })
    }

    /// Whether a worker's loop has not turned for so long.
    pub fn stalled(&self, limit: Duration) -> bool {
        let now_ms = millis(self.started.elapsed());
        let limit_ms = millis(limit);
        self.workers
            .iter()
            .any(|worker| now_ms.saturating_sub(worker.beat_ms.load(Ordering::Relaxed)) > limit_ms)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.workers.len()
    }

    /// Open connections over all workers.
    pub fn connections(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Accepts until `stop`; then takes what the kernel had already accepted, and closes the listener.
    pub async fn accept(&self, listener: TcpListener, metrics: &Metrics, mut stop: watch::Receiver<bool>) {
        let connections_max = self.limits.connections_max;
        let (mut full, mut told) = (false, None);
        loop {
            let was_full = std::mem::replace(&mut full, self.connections() >= connections_max);
            if full && !was_full {
                tracing::warn!(connections_max, "no more connections for now");
            }
            if full {
                tokio::select! {
                    _ = stop.wait_for(|stop| *stop) => break,
                    () = tokio::time::sleep(Duration::from_millis(50)) => continue,
                }
            }
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                accepted = listener.accept() => self.hand_over(accepted, metrics, &mut told).await,
            }
        }
        while let Ok(accepted) = tokio::time::timeout(Duration::ZERO, listener.accept()).await {
            self.hand_over(accepted, metrics, &mut told).await;
        }
    }

    /// `told` is when the log last told of a connection that was refused.
    async fn hand_over(
        &self,
        accepted: io::Result<(TcpStream, SocketAddr)>,
        metrics: &Metrics,
        told: &mut Option<Instant>,
    ) {
        let accepted = accepted.and_then(|(stream, peer)| {
            stream.set_nodelay(true)?;
            Ok((stream.into_std()?, peer.ip()))
        });
        match accepted {
            Ok((stream, peer)) => {
                let max = self.limits.connections_per_address_max;
                let Some(place) = self.addresses.place(peer, max) else {
                    metrics.closed(Closed::Address);
                    if told.is_none_or(|told| told.elapsed() >= TOLD_EVERY) {
                        *told = Some(Instant::now());
                        tracing::warn!(%peer, connections_per_address_max = max, "connections of an address are closed");
                    }
                    return;
                };
                let least = self.workers.iter().min_by_key(|worker| worker.load.load(Ordering::Relaxed));
                let Some(worker) = least else { return };
                worker.load.fetch_add(1, Ordering::Relaxed);
                self.open.fetch_add(1, Ordering::Relaxed);
                let connections = worker.connections.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let Some(connections) = connections else { return };
                if connections.send((stream, place)).await.is_err() {
                    tracing::error!("a worker is gone");
                }
            }
            Err(error) => {
                // Out of file descriptors, most likely: waiting lets connections end.
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Lets every worker finish its requests, and waits for it. Blocks; the workers know their time limit.
    pub fn close(&self) {
        let take = |worker: &Running| {
            drop(worker.connections.lock().unwrap_or_else(PoisonError::into_inner).take());
            worker.thread.lock().unwrap_or_else(PoisonError::into_inner).take()
        };
        let threads: Vec<_> = self.workers.iter().filter_map(take).collect();
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a worker panicked");
            }
        }
    }
}

/// Interrupt moderation, as network cards do it.
fn moderate(running: &AtomicUsize) {
    if running.load(Ordering::Relaxed) >= MODERATED_FROM {
        std::thread::sleep(MODERATION);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

async fn beat(started: Instant, beat_ms: Arc<AtomicU64>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        beat_ms.store(millis(started.elapsed()), Ordering::Relaxed);
    }
}

async fn run(
    mut connections: mpsc::Receiver<Accepted>,
    Post { seat, edge, renewing }: Post,
    tls: Option<Arc<Tls>>,
    mut stop: watch::Receiver<bool>,
    (load, open): (Arc<AtomicUsize>, Arc<AtomicUsize>),
) {
    let (leave, _) = watch::channel(false);
    let settling = tokio::task::spawn_local({
        let seat = Rc::clone(&seat);
        async move { seat.settle_reports().await }
    });
    let renewing = tokio::task::spawn_local(renewing);
    while let Some((stream, place)) = connections.recv().await {
        let counted = Counted(Arc::clone(&load), Arc::clone(&open));
        let Ok(stream) = TcpStream::from_std(stream) else { continue };
        let (limits, metrics) = {
            let edge = edge.borrow();
            (edge.limits, Arc::clone(&edge.metrics))
        };
        let answer = {
            let edge = Rc::clone(&edge);
            move |request| Rc::clone(&edge.borrow()).answer(request)
        };
        let served = connection::serve(stream, tls.clone(), answer, limits, leave.subscribe());
        drop(tokio::task::spawn_local(async move {
            if let Some(why) = served.await {
                metrics.closed(why);
            }
            drop((counted, place));
        }));
    }
    // The acceptor is done, so no connection is left behind; each now finishes the request it is in.
    drop(stop.wait_for(|stop| *stop).await);
    // One deadline for both waits, and the rest of the shutdown time for Kafka to acknowledge.
    renewing.abort();
    let shutdown_timeout_ms = edge.borrow().limits.shutdown_timeout_ms;
    let deadline = Instant::now() + Duration::from_millis(shutdown_timeout_ms / 2);
    leave.send_replace(true);
    // Each of them has an ear of its own to it.
    if tokio::time::timeout_at(deadline.into(), leave.closed()).await.is_err() {
        tracing::warn!("connections were cut at the end of the shutdown time");
    }
    seat.idle(deadline.saturating_duration_since(Instant::now())).await;
    settling.abort();
}
