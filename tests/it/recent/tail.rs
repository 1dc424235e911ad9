//! Live tails as clients meet them: from now, from a position, after a cut, and on a gateway that stops.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};
use reqwest::Response;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Handle;
use weir::memory::Memory;
use weir::problem::Code;
use weir::recent::{Begin, Cut, Filter, Follower, Mode, Next, Recent, Settings, Start, Topic};
use weir_tests::world::{Weir, WeirOptions, fresh_name, shared_kafka, until};

use super::http::order;
use super::lookups::control_topic;
use crate::spine::{Client, orders};

const PATIENCE: Duration = Duration::from_secs(30);
const STREAM: &str = "text/event-stream";

/// A client of one stream.
pub(crate) struct Stream {
    response: Response,
    text: String,
    /// As a browser keeps it.
    pub(crate) last_id: String,
}

/// One message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: String,
    data: String,
}

impl Message {
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.kind, "event", "{self:?}");
        serde_json::from_str(&self.data).unwrap()
    }
}

/// A block without data is none, but its id counts.
fn parse(block: &str, last_id: &mut String) -> Option<Message> {
    let (mut kind, mut data) = ("message".to_owned(), None::<String>);
    for line in block.split('\n') {
        match line.split_once(": ").unwrap_or((line, "")) {
            ("id", value) => *last_id = value.to_owned(),
            ("event", value) => kind = value.to_owned(),
            ("data", value) => match &mut data {
                Some(data) => *data = format!("{data}\n{value}"),
                None => data = Some(value.to_owned()),
            },
            ("" | "retry", _) => {}
            other => panic!("{other:?} in {block:?}"),
        }
    }
    data.map(|data| Message { kind, data })
}

async fn ask(client: &Client, query: &str, last_id: Option<&str>) -> Response {
    let mut request = client.http.get(client.weir.url(&format!("/v1/events/{}{query}", client.route)));
    if let Some(last_id) = last_id {
        request = request.header("last-event-id", last_id);
    }
    request.header("accept", STREAM).send().await.unwrap()
}

impl Stream {
    pub(crate) async fn open(client: &Client, query: &str, last_id: Option<&str>) -> Stream {
        let response = ask(client, query, last_id).await;
        assert_eq!(response.status(), 200);
        let mut stream = Stream { response, text: String::new(), last_id: String::new() };
        // The first block says where it begins.
        let block = stream.block().await.unwrap();
        assert!(block.starts_with("retry: 1000\nid: "), "{block}");
        assert_eq!(parse(&block, &mut stream.last_id), None);
        stream
    }

    /// The next block; `None` at the end.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                return Some(block);
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk()).await.expect("in time");
            self.text.push_str(std::str::from_utf8(&chunk.unwrap()?).unwrap());
        }
    }

    pub(crate) async fn message(&mut self) -> Option<Message> {
        loop {
            let block = self.block().await?;
            if let Some(message) = parse(&block, &mut self.last_id) {
                return Some(message);
            }
        }
    }

    async fn event(&mut self) -> Value {
        self.message().await.expect("a message").json()
    }

    async fn order_ids(&mut self, count: usize) -> Vec<String> {
        let mut ids = Vec::new();
        while ids.len() < count {
            ids.push(self.event().await["data"]["order_id"].as_str().unwrap().to_owned());
        }
        ids
    }
}

async fn gauge(client: &Client, name: &str) -> f64 {
    let text = client.http.get(client.weir.admin_url("/metrics")).send().await.unwrap().text().await.unwrap();
    let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

async fn post(client: &Client, number: u32, user: &str) -> Value {
    let answer = client.event(order(number, user)).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    answer.body
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_share_a_reader_and_each_sees_what_it_asked_for_from_now_on() {
    let client = orders().await.start().await;
    post(&client, 0, "u-1").await;
    let mut all = Stream::open(&client, "", None).await;
    let headers = all.response.headers();
    let expected = [
        ("content-type", STREAM),
        ("cache-control", "no-store"),
        ("x-accel-buffering", "no"),
        ("vary", "accept"),
    ];
    for (name, value) in expected {
        assert_eq!(headers.get(name).unwrap(), value, "{name}");
    }
    let mut user = Stream::open(&client, "?key=u-1&from=now", None).await;
    let mut kind = Stream::open(&client, "?kind=order&key=o-2", None).await;
    let mut any_order = Stream::open(&client, "?kind=order&type=orders.created", None).await;
    let mut none = Stream::open(&client, "?type=orders.deleted", None).await;
    assert_eq!(gauge(&client, "weir_tail_subscribers").await, 5.0);

    let mut receipts = Vec::new();
    for (number, name) in [(1, "u-1"), (2, "u-2"), (3, "u-1")] {
        receipts.push(post(&client, number, name).await);
    }
    let mut seen: Vec<Value> = vec![all.event().await, all.event().await, all.event().await];
    seen.sort_by_key(|event| event["data"]["order_id"].to_string());
    for (event, receipt) in seen.iter().zip(&receipts) {
        let looked_up = client.look(&format!("/at/{}/{}", receipt["partition"], receipt["offset"])).await;
        assert_eq!(*event, looked_up.body, "the same as a lookup gives");
    }
    assert_eq!(user.order_ids(2).await, ["o-1", "o-3"]);
    assert_eq!(kind.order_ids(1).await, ["o-2"]);
    assert_eq!(any_order.order_ids(3).await.len(), 3);
    assert_eq!(client.metric("weir_recent_total", "what=\"tail-readers\"").await, 1.0);
    assert_eq!(client.metric("weir_recent_total", "what=\"tail-sent\"").await, 9.0);

    // Nothing was for this one, and the next block is a heartbeat that passes the three.
    let began_at = none.last_id.clone();
    assert_eq!(parse(&none.block().await.unwrap(), &mut none.last_id), None);
    assert_ne!(none.last_id, began_at);
    let mut resumed = Stream::open(&client, "", Some(&none.last_id)).await;
    post(&client, 4, "u-4").await;
    assert_eq!(resumed.order_ids(1).await, ["o-4"]);

    drop((all, user, kind, any_order, none, resumed));
    until("they are gone", PATIENCE, async || {
        (gauge(&client, "weir_tail_subscribers").await == 0.0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_comes_again_and_again_under_load_misses_nothing_and_sees_nothing_twice() {
    const ARRAYS: u32 = 60;
    const EACH: u32 = 50;
    let client = Arc::new(orders().await.start().await);
    let writing = Arc::new(AtomicBool::new(true));
    let writers: Vec<_> = (0..2)
        .map(|writer| {
            let client = Arc::clone(&client);
            tokio::spawn(async move {
                for array in (writer..ARRAYS).step_by(2) {
                    let numbers = array * EACH..(array + 1) * EACH;
                    let texts: Vec<_> = numbers.map(|n| order(n, &format!("u-{}", n % 40))).collect();
                    assert_eq!(client.event(format!("[{}]", texts.join(","))).await.status, 200);
                }
            })
        })
        .collect();
    let done = Arc::clone(&writing);
    let finished = tokio::spawn(async move {
        for writer in writers {
            writer.await.unwrap();
        }
        done.store(false, Ordering::Release);
    });

    let total = usize::try_from(ARRAYS * EACH).unwrap();
    let mut seen: Vec<(i64, i64)> = Vec::new();
    let mut stream = Stream::open(&client, "?from=start", None).await;
    let (mut comings, mut under_load) = (1, 0);
    while seen.len() < total {
        // A number without a relation to any size of ours, so that streams end within pieces.
        for _ in 0..(37 + 101 * (comings % 4)).min(total - seen.len()) {
            let event = stream.event().await;
            seen.push((event["partition"].as_i64().unwrap(), event["offset"].as_i64().unwrap()));
        }
        under_load += usize::from(writing.load(Ordering::Acquire));
        let last_id = std::mem::take(&mut stream.last_id);
        stream = Stream::open(&client, "?from=start", Some(&last_id)).await;
        comings += 1;
    }
    finished.await.unwrap();
    assert!(comings > 8 && under_load > 1, "{comings} comings, {under_load} of them under load");
    for partition in 0..3 {
        let offsets: Vec<_> = seen.iter().filter(|(of, _)| *of == partition).map(|(_, at)| *at).collect();
        let count = i64::try_from(offsets.len()).unwrap();
        assert_eq!(offsets, (0..count).collect::<Vec<_>>(), "partition {partition}");
    }
    assert_eq!(shared_kafka().await.records(&client.route).await.len(), total);

    // The last one has nothing more to see, until something comes.
    post(&client, 100_000, "u-1").await;
    assert_eq!(stream.order_ids(1).await, ["o-100000"]);
    // Positions in the query do the same, for the partitions that they name.
    let mut one = Stream::open(&client, "?from=1:3", None).await;
    let first = one.event().await;
    assert_eq!((first["partition"].as_i64(), first["offset"].as_i64()), (Some(1), Some(3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_that_the_log_does_not_hold_and_what_cannot_be_read_are_refused() {
    let client = orders().await.start().await;
    let receipt = post(&client, 1, "u-1").await;
    post(&client, 2, "u-1").await;
    let partition = i32::try_from(receipt["partition"].as_i64().unwrap()).unwrap();
    let admin: AdminClient<DefaultClientContext> = shared_kafka().await.client_config().create().unwrap();
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(&client.route, partition, Offset::Offset(1)).unwrap();
    admin.delete_records(&before, &AdminOptions::new()).await.unwrap();

    let code = async |query: &str, last_id: Option<&str>| {
        let response = ask(&client, query, last_id).await;
        let status = response.status().as_u16();
        let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        (status, body["code"].as_str().unwrap().to_owned())
    };
    let gone = format!("{partition}:0");
    let gone = until("the log begins later", PATIENCE, async || {
        let answer = ask(&client, "", Some(&gone)).await;
        (answer.status() == 410).then_some(gone.clone())
    })
    .await;
    let cases = [
        ("", Some(gone.clone()), (410, "position-gone")),
        ("", Some(format!("{partition}:3")), (410, "position-unknown")),
        ("", Some("7:0".to_owned()), (410, "position-unknown")),
        ("", Some("garbage".to_owned()), (400, "bad-query")),
        ("?from=yesterday", None, (400, "bad-query")),
        ("?limit=3", None, (400, "bad-query")),
    ];
    for (query, last_id, (status, name)) in cases {
        assert_eq!(code(query, last_id.as_deref()).await, (status, name.to_owned()), "{query} {last_id:?}");
    }
    assert_eq!(code(&format!("?from={gone}"), None).await, (410, "position-gone".to_owned()));
    let url = client.weir.url("/v1/events/elsewhere");
    let unknown = client.http.get(url).header("accept", STREAM).send().await.unwrap();
    assert_eq!(unknown.status(), 404);
    // From the start means from what is there.
    let mut start = Stream::open(&client, "?from=start", None).await;
    assert_eq!(start.order_ids(1).await, ["o-2"]);
    // Without the header it is a lookup, which needs a key.
    assert_eq!(client.look("?from=now").await.body["code"], "bad-query");
}

/// A connection that asks for a stream and reads only its beginning.
async fn unread(client: &Client, query: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8 << 10).unwrap();
    let address = client.weir.url("").replace("http://", "").parse().unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let path = format!("/v1/events/{}{query}", client.route);
    let request = format!("GET {path} HTTP/1.1\r\nhost: weir\r\naccept: {STREAM}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    stream
}

/// Writes large events past the gateway, so many that no buffer on the way holds them.
async fn write_large(client: &Client, fast: &mut Stream) -> Vec<i64> {
    let producer: FutureProducer = shared_kafka().await.client_config().create().unwrap();
    let data = format!("\"{}\"", "x".repeat(64 << 10));
    let headers = ["ce_id", "ce_source", "ce_type"]
        .into_iter()
        .fold(OwnedHeaders::new(), |all, key| all.insert(Header { key, value: Some("x") }))
        .insert(Header { key: "content-type", value: Some("application/json") });
    let mut offsets = Vec::new();
    for _ in 0..20 {
        for _ in 0..20 {
            let record = FutureRecord::<str, _>::to(&client.route).partition(0).payload(&data);
            offsets.push(producer.send(record.headers(headers.clone()), PATIENCE).await.unwrap().offset);
        }
        for at in &offsets[offsets.len() - 20..] {
            assert_eq!(fast.event().await["offset"], *at);
        }
    }
    offsets
}

/// The messages in what was read raw, and the last id.
fn messages(raw: &[u8]) -> (Vec<Message>, String) {
    // Chunk sizes of HTTP/1.1 stand between; the text itself has no carriage return.
    let text = String::from_utf8(raw.to_vec()).unwrap();
    let (_, mut rest) = text.split_once("\r\n\r\n").unwrap();
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let (chunk, after) = after.split_at(usize::from_str_radix(size, 16).unwrap());
        body.push_str(chunk);
        rest = after.strip_prefix("\r\n").unwrap();
    }
    let mut last_id = String::new();
    let blocks = body.split_terminator("\n\n");
    let messages = blocks.filter_map(|block| parse(block, &mut last_id)).collect();
    (messages, last_id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_is_cut_and_goes_on_where_it_was() {
    let client = orders().await.start().await;
    let mut slow = unread(&client, "").await;
    let mut fast = Stream::open(&client, "", None).await;
    let written = write_large(&client, &mut fast).await;

    let mut raw = Vec::new();
    tokio::time::timeout(PATIENCE, slow.read_to_end(&mut raw)).await.expect("it ends").unwrap();
    let head = [&b"HTTP/1.1 200"[..], &raw].concat();
    let (mut messages, last_id) = messages(&head);
    let cut = messages.pop().unwrap();
    let why: Value = serde_json::from_str(&cut.data).unwrap();
    assert_eq!((cut.kind.as_str(), &why["reason"]), ("cut", &json!("slow")));
    let mut seen: Vec<_> =
        messages.iter().map(|message| message.json()["offset"].as_i64().unwrap()).collect();
    assert!(!seen.is_empty() && seen.len() < written.len(), "{} of {}", seen.len(), written.len());
    assert_eq!(client.metric("weir_recent_total", "what=\"tail-cut\"").await, 1.0);

    let mut resumed = Stream::open(&client, "", Some(&last_id)).await;
    while seen.len() < written.len() {
        seen.push(resumed.event().await["offset"].as_i64().unwrap());
    }
    assert_eq!(seen, written);
}

#[tokio::test(flavor = "multi_thread")]
async fn open_streams_do_not_hold_up_a_gateway_that_stops() {
    let mut route = orders().await;
    // A stream that waits outlives this.
    route.config.insert_str(0, "limits: {idle_timeout_ms: 1000}\n");
    let client = route.start().await;
    let mut unread = self::unread(&client, "").await;
    let mut fast = Stream::open(&client, "", None).await;
    let mut idle = Stream::open(&client, "?key=nobody", None).await;
    write_large(&client, &mut fast).await;
    for _ in 0..2 {
        until("the unread one was idle for too long", PATIENCE, async || {
            (gauge(&client, "weir_tail_subscribers").await == 2.0).then_some(())
        })
        .await;
        unread = self::unread(&client, "?from=start").await;
    }
    let (mut sent, mut looks) = (0.0, 0);
    until("no more goes into the unread one", PATIENCE, async || {
        let now = client.metric("weir_recent_total", "what=\"tail-sent\"").await;
        looks = if std::mem::replace(&mut sent, now) == now { looks + 1 } else { 0 };
        (looks == 15).then_some(())
    })
    .await;
    let signalled = Instant::now();
    client.weir.sigterm();
    assert_eq!(fast.message().await, None);
    assert_eq!(idle.message().await, None);
    assert_eq!(client.weir.wait(PATIENCE).await, Some(0));
    assert!(signalled.elapsed() < Duration::from_secs(8), "{:?}", signalled.elapsed());
    drop(unread);
}

#[tokio::test(flavor = "multi_thread")]
async fn weir_dev_has_live_tails_and_bytes_come_through() {
    let weir = Weir::start(WeirOptions::dev()).await;
    let client = Client { weir, route: "orders".to_owned(), http: reqwest::Client::new() };
    let mut stream = Stream::open(&client, "", None).await;
    let pretty = |newline: &str| order(7, "u-7").replace(',', &format!(" ,{newline}\t"));
    let sent = [pretty("\n"), pretty("\n\n"), pretty("\r\n"), pretty("\r")];
    for text in &sent {
        assert_eq!(client.event(text.clone()).await.status, 201);
        let message = stream.message().await.unwrap();
        match message.json().get("data_base64") {
            Some(base64) => {
                assert!(text.contains('\r'));
                let at = format!("/at/{}/{}", message.json()["partition"], message.json()["offset"]);
                assert!(client.look(&at).await.body["data"].is_object(), "lookups embed it");
                assert_eq!(base64.as_str().unwrap(), encoded(text.as_bytes()));
            }
            None => assert!(!text.contains('\r') && message.data.contains(text.as_str()), "{message:?}"),
        }
    }
    let mut again = Stream::open(&client, "?from=start", None).await;
    for _ in &sent {
        assert_eq!(again.event().await["key"], "u-7");
    }
}

/// Base64 (RFC 4648 §4), written from its description.
fn encoded(bytes: &[u8]) -> String {
    let digits: Vec<char> = ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['+', '/']).collect();
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let number = (0..3).fold(0_usize, |sum, i| sum << 8 | usize::from(*three.get(i).unwrap_or(&0)));
        let four = [18, 12, 6, 0].map(|shift| digits[number >> shift & 63]);
        text.extend(&four[..=three.len()]);
        text.extend(["="; 3].iter().take(3 - three.len()).copied());
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_erased_is_in_no_tail() {
    let client = orders().await.start().await;
    client.event(order(1, "u-1")).await;
    let kept = client.event(order(2, "u-2")).await.body;
    let url = client.weir.admin_url(&format!("/admin/v1/recent/{}?key=u-1", client.route));
    assert_eq!(client.http.delete(url).send().await.unwrap().status(), 200);
    let later = client.event(order(3, "u-1")).await.body;
    let mut stream = Stream::open(&client, "?from=start", None).await;
    let mut seen = BTreeSet::new();
    for _ in 0..2 {
        seen.insert(stream.message().await.unwrap().json()["id"].to_string());
    }
    assert_eq!(seen, [&kept, &later].map(|receipt| receipt["id"].to_string()).into());
}

/// A read model of a topic of its own on the shared Kafka, without a gateway.
async fn model() -> (Recent, FutureProducer, String) {
    let (topic, kafka) = (fresh_name("tail"), shared_kafka().await);
    kafka.create_topic(&topic, 2, &[]).await;
    control_topic(kafka).await;
    let topics =
        vec![Topic { route: "r".into(), topic: topic.as_str().into(), settings: Settings::default() }];
    let (store, runtime) = (Arc::new(Memory::new()), Handle::current());
    let (client, counts) = (kafka.client_config(), Arc::default());
    let start = Start { topics, store, kafka: client, mode: Mode::Manual, runtime, counts };
    let (recent, _) = Recent::start(start).unwrap();
    let producer = kafka.client_config().set("linger.ms", "5").create().unwrap();
    until("the topic is known", PATIENCE, async || {
        recent.follow("r", Filter::default(), &Begin::Now).await.ok().map(drop)
    })
    .await;
    (recent, producer, topic)
}

async fn write(producer: &FutureProducer, topic: &str, numbers: std::ops::Range<usize>) {
    let headers = ["ce_id", "ce_source", "ce_type"]
        .into_iter()
        .fold(OwnedHeaders::new(), |all, key| all.insert(Header { key, value: Some("x") }));
    let mut sent = Vec::new();
    for number in numbers {
        let data = number.to_string();
        let record = FutureRecord::<str, _>::to(topic).partition(i32::try_from(number % 2).unwrap());
        sent.push(producer.send_result(record.payload(&data).headers(headers.clone())).unwrap());
    }
    for sent in sent {
        sent.await.unwrap().unwrap();
    }
}

/// Reads until so many are seen, or until it is cut.
async fn read(follower: &mut Follower, seen: &mut BTreeSet<(i64, i64)>, count: usize) -> Option<Cut> {
    while seen.len() < count {
        let mut each = |_: &weir::recent::Positions, json: &[u8]| {
            let event: Value = serde_json::from_slice(json).unwrap();
            let at = (event["partition"].as_i64().unwrap(), event["offset"].as_i64().unwrap());
            assert!(seen.insert(at), "{at:?} twice");
        };
        match tokio::time::timeout(PATIENCE, follower.next(&mut each)).await.expect("in time") {
            Next::Events => {}
            Next::Cut(why) => return Some(why),
            Next::Ended => panic!("it stops"),
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn more_events_than_the_ring_holds_cut_whoever_stands_still() {
    let (recent, producer, topic) = model().await;
    let follow = async |begin: &Begin| recent.follow("r", Filter::default(), begin).await.unwrap();
    let (mut still, mut seen) = (follow(&Begin::Now).await, BTreeSet::new());
    write(&producer, &topic, 0..10).await;
    assert_eq!(read(&mut still, &mut seen, 10).await, None);
    write(&producer, &topic, 10..6000).await;
    // Another one has them all, so they have all been in the ring.
    let (mut other, mut others) = (follow(&Begin::Start).await, BTreeSet::new());
    // On a busy machine it may be cut, too; whoever is resumes and misses nothing.
    let resume = async |follower: &mut Follower, seen: &mut BTreeSet<(i64, i64)>| {
        while let Some(cut) = read(follower, seen, 6000).await {
            assert_eq!(cut, Cut::Slow);
            *follower = follow(&Begin::After(follower.positions().clone())).await;
        }
    };
    resume(&mut other, &mut others).await;
    assert_eq!(read(&mut still, &mut seen, 6000).await, Some(Cut::Slow));
    let mut again = follow(&Begin::After(still.positions().clone())).await;
    resume(&mut again, &mut seen).await;
    assert_eq!(seen, others);
    assert_eq!(seen.len(), 6000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_has_a_limited_number_of_subscribers_and_none_once_it_stops() {
    let (recent, _producer, _topic) = model().await;
    let follow = async || recent.follow("r", Filter::default(), &Begin::Now).await;
    let mut followers = Vec::new();
    let refused = loop {
        match follow().await {
            Ok(follower) => followers.push(follower),
            Err(problem) => break problem,
        }
    };
    assert_eq!((refused.code, followers.len(), recent.subscribers()), (Code::Overloaded, 1000, 1000));
    followers.truncate(1);
    assert!(follow().await.is_ok());
    recent.end_tails();
    let mut last = followers.pop().unwrap();
    assert_eq!(last.next(&mut |_, _| ()).await, Next::Ended);
    assert_eq!(follow().await.err().map(|problem| problem.code), Some(Code::ShuttingDown));
}
