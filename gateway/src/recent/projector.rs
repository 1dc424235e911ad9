//! Keeps one task per owned partition running, and says when all of them have caught up. It does not read
//! records itself, and owning a partition is only a division of labour: what keeps two owners from doing harm
//! is in the store's scripts.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::error::KafkaError;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::slot::{Source, project};
use super::{Counts, Mode, Start, Topic};
use crate::kafka::consumer::{Member, Owned, Sample};
use crate::ports::Slot;

/// Lookups are called ready after this even if they are not warm: they are right either way.
const WARM_UP_MAX: Duration = Duration::from_secs(60);

/// The projector's tasks.
pub(super) struct Projector {
    member: Mutex<Option<Member>>,
    stop: watch::Sender<bool>,
    manager: Mutex<Option<JoinHandle<()>>>,
    runtime: Handle,
}

impl Projector {
    pub(super) fn start(
        start: Start,
        source: Source,
    ) -> Result<(Projector, watch::Receiver<bool>), KafkaError> {
        let topics: HashMap<Arc<str>, Topic> =
            start.topics.iter().map(|topic| (Arc::clone(&topic.topic), topic.clone())).collect();
        let names: Vec<Arc<str>> = topics.keys().cloned().collect();
        let member = match &start.mode {
            // Nobody can join a group for no topic at all; there is nothing to share out either.
            Mode::Group(group_id) if !names.is_empty() => Some(Member::join(&start.kafka, group_id, &names)?),
            Mode::Group(_) | Mode::Manual => None,
        };
        let owned = member.as_ref().map(Member::watch);
        let (ready, warm) = watch::channel(false);
        let (stop, stopping) = watch::channel(false);
        let manager = Manager { source: Arc::new(source), topics, running: HashMap::new(), ready };
        let manager = start.runtime.spawn(manager.run(owned, stopping));
        let projector = Projector {
            member: Mutex::new(member),
            stop,
            manager: Mutex::new(Some(manager)),
            runtime: start.runtime,
        };
        Ok((projector, warm))
    }

    pub(super) async fn stop(&self) {
        self.stop.send_replace(true);
        let manager = self.manager.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(manager) = manager
            && let Err(error) = manager.await
        {
            tracing::error!(%error, "the projector ended badly");
        }
        let member = self.member.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(member) = member
            && let Err(error) = self.runtime.spawn_blocking(move || member.leave()).await
        {
            tracing::error!(%error, "the group was not left well");
        }
    }
}

/// One running partition.
struct Running {
    task: JoinHandle<()>,
    caught_up: watch::Receiver<bool>,
}

struct Manager {
    source: Arc<Source>,
    topics: HashMap<Arc<str>, Topic>,
    running: HashMap<Slot, Running>,
    ready: watch::Sender<bool>,
}

impl Manager {
    async fn run(mut self, mut member: Option<watch::Receiver<Owned>>, mut stopping: watch::Receiver<bool>) {
        let mut samples = self.source.ends.watch();
        let began = tokio::time::Instant::now();
        loop {
            let sample = Arc::clone(&samples.borrow_and_update());
            let owned = match &mut member {
                Some(member) => member.borrow_and_update().clone(),
                None => self.all_of(&sample),
            };
            if let Some(owned) = owned {
                self.run_exactly(&owned).await;
                self.tell_ready(owned.len());
            }
            if began.elapsed() > WARM_UP_MAX && !*self.ready.borrow() {
                tracing::warn!("recent-event lookups are still warming up");
                self.ready.send_replace(true);
            }
            // The sampler's tick doubles as ours.
            tokio::select! {
                _ = samples.changed() => {}
                () = changed(&mut member) => {}
                _ = stopping.wait_for(|stop| *stop) => break,
            }
        }
        self.run_exactly(&BTreeSet::new()).await;
    }

    /// All partitions of all topics, once they are known.
    fn all_of(&self, sample: &Sample) -> Owned {
        let known = self.topics.keys().all(|topic| sample.partitions.contains_key(topic));
        known.then(|| sample.slots().filter(|slot| self.topics.contains_key(&slot.topic)).collect())
    }

    /// Ends the tasks of other partitions first, so that no partition ever has two tails here.
    async fn run_exactly(&mut self, owned: &BTreeSet<Slot>) {
        let gone: Vec<Slot> = self
            .running
            .iter()
            .filter(|(slot, running)| !owned.contains(slot) || running.task.is_finished())
            .map(|(slot, _)| slot.clone())
            .collect();
        for slot in gone {
            if let Some(running) = self.running.remove(&slot) {
                self.source.stands.gone(&slot);
                running.task.abort();
                if let Err(error) = running.task.await
                    && error.is_panic()
                {
                    tracing::error!(partition = slot.partition, "a partition's projector ended badly");
                }
            }
        }
        for slot in owned {
            let Some(topic) = self.topics.get(&slot.topic).filter(|_| !self.running.contains_key(slot))
            else {
                continue;
            };
            let (tell, caught_up) = watch::channel(false);
            let work = project(Arc::clone(&self.source), slot.clone(), topic.settings.keep(), tell);
            self.running.insert(slot.clone(), Running { task: tokio::spawn(work), caught_up });
        }
    }

    fn tell_ready(&self, owned: usize) {
        let warm = self.running.values().filter(|running| *running.caught_up.borrow()).count();
        if warm == owned && !*self.ready.borrow() {
            self.ready.send_replace(true);
        }
    }
}

/// A change of what the member owns; never, without one.
async fn changed(member: &mut Option<watch::Receiver<Owned>>) {
    if let Some(member) = member
        && member.changed().await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}

impl Drop for Projector {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// So that every counter is named in one place.
impl Source {
    pub(super) fn count_applied(&self, kept: usize, bytes: usize, passed_over: usize) {
        Counts::add(&self.counts.applied, kept);
        Counts::add(&self.counts.bytes, bytes);
        Counts::add(&self.counts.skipped, passed_over);
    }
}
