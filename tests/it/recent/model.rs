//! The shipped scripts under everything that can happen around them: two projectors that know nothing of each other,
//! calls that arrive long after whoever sent them is gone, failovers that keep a prefix, empty restarts, a log that is
//! cut. After each step every key is read as a lookup reads it, and the answer is compared with the log.
//!
//! Then the gate: with any one fence taken out, of the scripts' text or of what their caller does, a run must fail.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "the logs of these runs have a hundred events"
)]

mod fences;

use std::collections::BTreeSet;

use futures_util::future::join_all;
use weir_tests::recent::chaos::chance::Chance;
use weir_tests::world::{Reply, Resp, fresh_name, shared_valkey};

use fences::Fences;

const RUNS: u64 = 24;
const STEPS: usize = 150;
/// A mutant that as many runs do not catch is not caught.
const RUNS_FOR_A_MUTANT: u64 = 200;
const KEYS: u64 = 4;
const PER_KEY: usize = 5;
/// Steps until an event has left the window.
const WINDOW: i64 = 16;
/// Commands that a failover loses, at most.
const LOST_MAX: u64 = 12;
/// Instead of the id, in what is left of a ref in a list that may have been cut.
const FREED: u64 = 0;
const NEVER: &[u8] = b"99999999999999";

type Command = Vec<Vec<u8>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Event {
    id: u64,
    key: u64,
    time: i64,
}

/// A projector's idea of where it stands; `None`: it has to look.
#[derive(Clone, Default)]
struct Projector {
    stand: Option<(String, i64)>,
    /// What it fills in: below which floor, and down to where.
    filling: Option<(i64, i64)>,
    /// When it asked for the log's end, and what that was.
    sample: Option<(i64, i64)>,
}

/// A watermark as a script replies it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Watermark {
    generation: String,
    next: i64,
    fresh: i64,
    floor: i64,
    floor_time: i64,
    start: i64,
}

/// Commands of a projector that is gone; those of a fill, with the floor they are for.
struct Late {
    commands: Vec<Command>,
    floor: Option<i64>,
}

struct World<'f> {
    fences: &'f Fences,
    chance: Chance,
    connection: Resp,
    tag: String,
    /// Every key that may be there.
    names: BTreeSet<Vec<u8>>,
    /// What the server has done: a failover keeps a prefix of it.
    done: Vec<Command>,
    /// So much of it no failover loses: that the log was cut cannot be told from offsets if that is lost, too.
    safe: usize,
    /// What is still on its way from projectors that are gone.
    late: Vec<Late>,
    projectors: [Projector; 2],
    clock: i64,
    log: Vec<Event>,
    /// What the control log says: a key, and below which offset its events are erased.
    erased: Vec<(u64, i64)>,
    next_id: u64,
    /// The log's end at each time.
    ends: Vec<i64>,
    /// The generation that the reader last met.
    known: String,
    /// The last watermark, unless the server has lost something since.
    before: Option<Watermark>,
}

impl World<'_> {
    async fn new(fences: &Fences, seed: u64) -> World<'_> {
        let tag = format!("{{{}}}", fresh_name("model"));
        let owner = shared_valkey().await.primary_of(&tag).await.unwrap();
        World {
            fences,
            chance: Chance::new(seed, 0),
            connection: Resp::connect(owner.address(), None).await.unwrap(),
            tag,
            names: BTreeSet::new(),
            done: Vec::new(),
            safe: 0,
            late: Vec::new(),
            projectors: Default::default(),
            clock: 1,
            log: Vec::new(),
            erased: Vec::new(),
            next_id: 1,
            ends: vec![0, 0],
            known: String::new(),
            before: None,
        }
    }

    fn end(&self) -> i64 {
        self.log.len() as i64
    }

    fn name(&self, kind: &str, generation: &str, rest: impl std::fmt::Display) -> Vec<u8> {
        let generation = if self.fences.generation_in_names { generation } else { "" };
        format!("{}:{kind}:{generation}:{rest}", self.tag).into_bytes()
    }

    fn eval(&self, script: &str, keys: Vec<Vec<u8>>, args: Vec<Vec<u8>>) -> Command {
        let mut command = vec![b"EVAL".to_vec(), script.into(), (keys.len() + 1).to_string().into_bytes()];
        command.push(format!("{}:w", self.tag).into_bytes());
        command.extend(keys);
        command.extend(args);
        command
    }

    async fn run(&mut self, command: Command) -> Result<Reply, String> {
        let keys = match &*command[0] {
            b"EVAL" => {
                let count: usize = String::from_utf8_lossy(&command[2]).parse().unwrap();
                &command[3..3 + count]
            }
            _ => &command[1..2],
        };
        self.names.extend(keys.iter().cloned());
        let reply = self.connection.call(&command).await.unwrap();
        self.done.push(command);
        if let Reply::Error(error) = &reply { Err(format!("a script failed: {error}")) } else { Ok(reply) }
    }

    async fn forget_all(&mut self) {
        for name in &self.names {
            self.connection.call(&[b"DEL", &name[..]]).await.unwrap();
        }
        self.before = None;
    }

    fn append(&mut self) {
        for _ in 0..=self.chance.below(4) {
            let event = Event { id: self.next_id, key: self.chance.below(KEYS), time: self.clock };
            self.next_id += 1;
            self.log.push(event);
        }
    }

    fn perhaps_append(&mut self) {
        if self.chance.below(2) == 0 {
            self.append();
        }
    }

    async fn step(&mut self) -> Result<(), String> {
        let which = self.chance.below(2) as usize;
        match self.chance.below(100) {
            0..=19 => self.append(),
            20..=37 => self.project(which, false).await?,
            38..=55 => self.fill(which, false).await?,
            56..=60 => self.fill(which, true).await?,
            61..=63 => self.projectors[which].sample = Some((self.clock, self.end())),
            64..=65 => self.projectors[which].stand = None,
            66..=70 => self.project(which, true).await?,
            71..=77 => self.deliver().await?,
            78..=82 => self.fail_over().await,
            83..=86 => {
                self.forget_all().await;
                self.done.clear();
                self.safe = 0;
                self.stand(which).await?;
            }
            87..=88 => self.raise_floor(which).await?,
            89..=90 => self.erase().await?,
            91..=93 => self.write_another_body().await?,
            _ => self.cut().await?,
        }
        self.clock += 1;
        self.ends.push(self.end());
        Ok(())
    }

    /// One step of a projector: to the next watermark, or, if it dies on the way, as far as a queue.
    async fn project(&mut self, which: usize, dies: bool) -> Result<(), String> {
        let Some((generation, from)) = self.projectors[which].stand.clone() else {
            return self.stand(which).await;
        };
        if from > self.end() {
            return self.stand(which).await;
        }
        let to = self.end().min(from + self.chance.below(7) as i64);
        let sample = self.projectors[which].sample.filter(|(_, end)| *end <= to);
        let fresh = sample.map_or(String::new(), |(time, _)| time.to_string());
        let commands = self.list(&self.fences.apply, (&generation, from, to), fresh, from..to);
        if dies {
            self.late.push(Late { commands, floor: None });
            self.projectors[which] = Projector::default();
            return Ok(());
        }
        let done = self.run_all(commands).await?;
        self.projectors[which].stand = done.then_some((generation, to));
        Ok(())
    }

    /// A projector's next stretch below the floor.
    async fn fill(&mut self, which: usize, dies: bool) -> Result<(), String> {
        let Some((generation, _)) = self.projectors[which].stand.clone() else { return Ok(()) };
        if self.projectors[which].filling.is_none() {
            let found = self.watermark().await?.filter(|found| found.generation == generation);
            self.projectors[which].filling = found.map(|found| (found.floor, found.start));
        }
        let Some((floor, start)) = self.projectors[which].filling else { return Ok(()) };
        if floor <= start || floor > self.end() {
            self.projectors[which].filling = None;
            return Ok(());
        }
        let from = (floor - 1 - self.chance.below(3) as i64).max(start);
        let newest =
            self.log[from as usize..floor as usize].iter().map(|event| event.time).max().unwrap_or(0);
        let time = if from == start { 0 } else { newest + 1 };
        let downwards = (from..floor).rev();
        let commands = self.list(&self.fences.fill, (&generation, from, floor), time.to_string(), downwards);
        if dies {
            self.late.push(Late { commands, floor: Some(floor) });
            self.projectors[which] = Projector::default();
            return Ok(());
        }
        let done = self.run_all(commands).await?;
        self.projectors[which].filling = done.then_some((from, start));
        Ok(())
    }

    /// Bodies, and then the script that lists them in this order.
    fn list(
        &self,
        script: &str,
        (generation, from, to): (&str, i64, i64),
        time: String,
        offsets: impl Iterator<Item = i64>,
    ) -> Vec<Command> {
        let (mut commands, mut keys, mut refs) = (Vec::new(), Vec::new(), Vec::new());
        for offset in offsets {
            let event = self.log[offset as usize];
            let body = self.name("b", generation, offset);
            commands.push(vec![b"SET".to_vec(), body, event.id.to_string().into_bytes()]);
            keys.push(self.name("l", generation, event.key));
            refs.extend([reference(offset, event), NEVER.to_vec()]);
        }
        let numbers =
            [from.to_string(), to.to_string(), time, (PER_KEY + 1).to_string(), keys.len().to_string()];
        let mut args = vec![generation.as_bytes().to_vec()];
        args.extend(numbers.map(String::into_bytes));
        args.extend(refs);
        commands.push(self.eval(script, keys, args));
        commands
    }

    /// Whether the script at their end did what it was to do.
    async fn run_all(&mut self, commands: Vec<Command>) -> Result<bool, String> {
        let mut reply = Reply::Nil;
        for command in commands {
            reply = self.run(command).await?;
        }
        Ok(reply.items().first().map(Reply::text).as_deref() == Some("OK"))
    }

    /// A projector looks where the slot stands, and opens it if need be.
    async fn stand(&mut self, which: usize) -> Result<(), String> {
        let found = self.watermark().await?;
        let seen = match found {
            Some(watermark) if watermark.next <= self.end() => {
                self.projectors[which].stand = Some((watermark.generation, watermark.next));
                return Ok(());
            }
            Some(watermark) => watermark.generation,
            None => String::new(),
        };
        // The end and the window's start are two questions, and events may come in between.
        let [end, start] = if self.fences.end_before_start {
            let end = self.end();
            self.perhaps_append();
            [end, self.window_start()]
        } else {
            let start = self.window_start();
            self.perhaps_append();
            [self.end(), start]
        };
        let start = start.min(end);
        // Near the end; what is older is filled in.
        let at = if self.chance.below(4) == 0 { start } else { start.max(end - self.chance.below(3) as i64) };
        let time = if at == start { 0 } else { self.clock + 1 };
        let new = format!("{:016x}", self.chance.below(u64::MAX));
        let args =
            [seen, new, at.to_string(), time.to_string(), start.to_string(), format!("{WINDOW}/{PER_KEY}")];
        let args = args.map(String::into_bytes);
        let open = self.eval(&self.fences.open, Vec::new(), args.to_vec());
        let watermark = read_watermark(&self.run(open).await?).ok_or("open replied no watermark")?;
        let stands = watermark.next <= self.end();
        self.projectors[which].stand = stands.then_some((watermark.generation, watermark.next));
        Ok(())
    }

    /// The first offset within the window; beyond all, if there is none.
    fn window_start(&self) -> i64 {
        let first = self.log.iter().position(|event| event.time > self.clock - WINDOW);
        first.map_or(i64::MAX, |first| first as i64)
    }

    async fn watermark(&mut self) -> Result<Option<Watermark>, String> {
        let args = vec![Vec::new(), b"none".to_vec()];
        let reply = self.connection.call(&self.eval(&self.fences.read, Vec::new(), args)).await.unwrap();
        Ok(reply.items().first().and_then(read_watermark))
    }

    async fn deliver(&mut self) -> Result<(), String> {
        if self.late.is_empty() {
            return Ok(());
        }
        // As a rule what was sent last: what is very late, has long been too late.
        let back = self.chance.below(self.late.len() as u64).min(self.chance.below(3)) as usize;
        // Or what would fit.
        let floor = self.watermark().await?.map(|watermark| watermark.floor);
        let fits = self.late.iter().position(|late| late.floor.is_some() && late.floor == floor);
        let fits = fits.filter(|_| self.chance.below(4) > 0);
        let late = self.late.remove(fits.unwrap_or(self.late.len() - 1 - back));
        for command in late.commands {
            self.run(command).await?;
        }
        Ok(())
    }

    async fn fail_over(&mut self) {
        let lost = self.chance.below(LOST_MAX + 1) as usize;
        self.done.truncate(self.done.len().saturating_sub(lost).max(self.safe));
        self.forget_all().await;
        for command in &self.done {
            self.connection.call(command).await.unwrap();
        }
    }

    /// A projector frees what lies below some offset; or dies before it does.
    async fn raise_floor(&mut self, which: usize) -> Result<(), String> {
        let Some((generation, next)) = self.projectors[which].stand.clone() else { return Ok(()) };
        let at = (next.min(self.end()) - self.chance.below(6) as i64).max(0);
        let time = if at == 0 { 0 } else { self.log[at as usize - 1].time + 1 };
        let args = [generation.clone(), at.to_string(), time.to_string()].map(String::into_bytes);
        let floor = self.eval(&self.fences.floor, Vec::new(), args.to_vec());
        if self.chance.below(2) == 0 {
            self.late.push(Late { commands: vec![floor], floor: None });
            return Ok(());
        }
        if self.run(floor).await?.items().first().map(Reply::text).as_deref() == Some("OK") {
            for offset in (at - 4).max(0)..at {
                let body = self.name("b", &generation, offset);
                self.run(vec![b"DEL".to_vec(), body]).await?;
            }
        }
        Ok(())
    }

    /// An order to erase a key: recorded in the control log, and then cleared from the store, if whoever does that
    /// does not die before.
    async fn erase(&mut self) -> Result<(), String> {
        let key = self.chance.below(KEYS);
        self.erased.push((key, self.end()));
        let Some((watermark, refs)) = self.look(key).await? else { return Ok(()) };
        let mut commands = Vec::new();
        for (offset, id, time) in refs {
            let generation = &watermark.generation;
            let [body, list] = [self.name("b", generation, offset), self.name("l", generation, key)];
            let [one, two] = [0, 1].map(|nth| self.name("i", generation, format!("{id}.{nth}")));
            let erased = reference(offset, Event { id, key, time });
            let args = vec![generation.clone().into_bytes(), erased, (PER_KEY + 1).to_string().into_bytes()];
            commands.push(self.eval(&self.fences.free, vec![body, one, two, list], args));
        }
        if self.chance.below(3) == 0 {
            self.late.push(Late { commands, floor: None });
            return Ok(());
        }
        for command in commands {
            self.run(command).await?;
        }
        Ok(())
    }

    fn is_erased(&self, key: u64, offset: i64) -> bool {
        self.erased.iter().any(|(erased, below)| *erased == key && offset < *below)
    }

    /// Where a body is, something else is written: by whoever read another log, or by a fault of the machine.
    async fn write_another_body(&mut self) -> Result<(), String> {
        let Some(watermark) = self.watermark().await? else { return Ok(()) };
        let offset = self.chance.below(watermark.next.max(1) as u64);
        let body = self.name("b", &watermark.generation, offset);
        self.run(vec![b"SET".to_vec(), body, b"999999".to_vec()]).await.map(drop)
    }

    /// The log loses its end, as after an unclean election; the projectors begin again.
    async fn cut(&mut self) -> Result<(), String> {
        let Some(watermark) = self.watermark().await? else { return Ok(()) };
        let kept = (self.end() - self.chance.below(5) as i64).max(0);
        if self.chance.below(2) == 0 {
            self.raise_floor(0).await?;
        }
        // What nobody has read can be cut without a trace, and what is on its way would bring it back.
        if watermark.next <= kept {
            return Ok(());
        }
        self.log.truncate(kept as usize);
        let end = self.end();
        self.ends.iter_mut().for_each(|known| *known = end.min(*known));
        // An order is about the log it was given for.
        self.erased.iter_mut().for_each(|(_, below)| *below = end.min(*below));
        self.projectors = Default::default();
        self.stand(0).await?;
        self.safe = self.done.len();
        Ok(())
    }

    /// Reads every key as a lookup does, and compares.
    async fn check(&mut self) -> Result<(), String> {
        for key in 0..KEYS {
            let Some((watermark, refs)) = self.look(key).await? else { continue };
            self.check_claims(&watermark)?;
            let from = watermark.floor.max(0);
            let in_window = |event: &Event| event.time > self.clock - WINDOW;
            let expected: Vec<_> = (from..watermark.next)
                .rev()
                .filter_map(|offset| Some((offset, *self.log.get(offset as usize)?)))
                .filter(|(offset, event)| {
                    event.key == key && in_window(event) && !self.is_erased(key, *offset)
                })
                .take(PER_KEY)
                .collect();
            let mut found = Vec::new();
            let hidden = |offset| self.fences.erasures_are_remembered && self.is_erased(key, offset);
            let shown = refs.into_iter().filter(|(offset, id, _)| !hidden(*offset) && *id != FREED);
            for (offset, id, time) in shown.take(PER_KEY).collect::<Vec<_>>() {
                if offset >= watermark.floor && time > self.clock - WINDOW {
                    found.push((offset, self.event(&watermark, offset, id).await));
                }
            }
            if found != expected {
                return Err(format!("key {key} at {watermark:?}: found {found:?}, expected {expected:?}"));
            }
        }
        Ok(())
    }

    /// The refs of a key, newest first: offset, id, time.
    async fn look(&mut self, key: u64) -> Result<Option<(Watermark, Vec<(i64, u64, i64)>)>, String> {
        for _ in 0..2 {
            let list = self.name("l", &self.known, key);
            let args = vec![
                self.known.clone().into_bytes(),
                b"list".to_vec(),
                (PER_KEY + 1).to_string().into_bytes(),
                PER_KEY.to_string().into_bytes(),
            ];
            let reply = self.connection.call(&self.eval(&self.fences.read, vec![list], args)).await.unwrap();
            if let Reply::Error(error) = &reply {
                return Err(format!("a script failed: {error}"));
            }
            let Some(watermark) = reply.items().first().and_then(read_watermark) else { return Ok(None) };
            self.known.clone_from(&watermark.generation);
            if let [_, _, Reply::Bytes(refs), _] = reply.items() {
                return Ok(Some((watermark, refs.chunks(40).map(read_reference).collect())));
            }
        }
        Err("the generation changed while nobody changed it".to_owned())
    }

    /// What a watermark says of itself.
    fn check_claims(&mut self, watermark: &Watermark) -> Result<(), String> {
        let wrong = |what: &str| Err(format!("{what}: {watermark:?}, log {:?}", self.log));
        if watermark.next > self.end() {
            return wrong("it covers more than there is");
        }
        if self.ends[watermark.fresh as usize] > watermark.next {
            return wrong("it is not as fresh as it says");
        }
        let below = self.log.iter().take(watermark.floor.max(0) as usize);
        if below
            .into_iter()
            .any(|event| event.time > self.clock - WINDOW && event.time >= watermark.floor_time)
        {
            return wrong("it lacks what it does not own up to");
        }
        let before = self.before.replace(watermark.clone());
        match before.filter(|before| before.generation == watermark.generation) {
            Some(before) if before.fresh > watermark.fresh => wrong("it got staler"),
            Some(before) if before.start > watermark.floor.min(watermark.start) => {
                wrong("it fell below its start")
            }
            _ => Ok(()),
        }
    }

    /// The event of a ref: what the store has under its offset if it is the same, else what the log has.
    async fn event(&mut self, watermark: &Watermark, offset: i64, id: u64) -> Event {
        let body = self.name("b", &watermark.generation, offset);
        let stored: Option<u64> =
            self.connection.call(&[b"GET", &body[..]]).await.unwrap().text().parse().ok();
        let logged = self.log.get(offset as usize).copied();
        let is_it = |stored: &u64| *stored == id || !self.fences.bodies_are_identified;
        match (stored.filter(is_it), logged) {
            (Some(stored), Some(logged)) => Event { id: stored, ..logged },
            (None, Some(logged)) if logged.id == id => logged,
            (_, _) => Event { id, key: u64::MAX, time: -1 },
        }
    }
}

/// A ref as `recent` writes it: offset, time, type, id.
fn reference(offset: i64, event: Event) -> Vec<u8> {
    let mut bytes = offset.to_be_bytes().to_vec();
    bytes.extend(event.time.to_be_bytes());
    bytes.extend([0; 16]);
    bytes.extend(event.id.to_be_bytes());
    bytes
}

fn read_reference(bytes: &[u8]) -> (i64, u64, i64) {
    let eight = |at: usize| <[u8; 8]>::try_from(&bytes[at..at + 8]).unwrap();
    (i64::from_be_bytes(eight(0)), u64::from_be_bytes(eight(32)), i64::from_be_bytes(eight(8)))
}

fn read_watermark(reply: &Reply) -> Option<Watermark> {
    let text = reply.text();
    let [generation, numbers @ .., _] = &text.split(' ').collect::<Vec<_>>()[..] else { return None };
    let numbers: Vec<i64> = numbers.iter().map(|number| number.parse().unwrap()).collect();
    let [next, fresh, floor, floor_time, start] = numbers[..] else { panic!("no watermark: {reply:?}") };
    Some(Watermark { generation: (*generation).to_owned(), next, fresh, floor, floor_time, start })
}

/// One run, to its end or to the first wrong answer.
async fn run(fences: &Fences, seed: u64) -> Result<(), String> {
    let mut world = World::new(fences, seed).await;
    let mut ended = Ok(());
    for step in 0..STEPS {
        ended = world.step().await;
        if ended.is_ok() {
            ended = world.check().await;
        }
        if let Err(why) = &mut ended {
            *why = format!("seed {seed}, step {step}: {why}");
            break;
        }
    }
    world.forget_all().await;
    ended
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_wrong_whatever_happens_around_the_scripts() {
    let fences = Fences::shipped();
    for ended in join_all((0..RUNS).map(|seed| run(&fences, seed))).await {
        ended.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_one_fence_an_answer_is_wrong() {
    let mutants = Fences::mutants();
    let caught = mutants.iter().map(|(name, fences)| async move {
        for seed in 0..RUNS_FOR_A_MUTANT {
            if let Err(why) = run(fences, seed).await {
                println!("without {name}: {why}");
                return None;
            }
        }
        Some(*name)
    });
    let missed: Vec<_> = join_all(caught).await.into_iter().flatten().collect();
    assert!(missed.is_empty(), "nobody misses: {missed:?}");
}
