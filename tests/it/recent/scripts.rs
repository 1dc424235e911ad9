//! The shipped scripts, word for word, on a real server: what they reply and what they leave behind.

use weir_tests::world::{Node, Reply, Resp, fresh_name, shared_valkey};

const OPEN: &str = include_str!("../../../gateway/src/valkey/scripts/open.lua");
const APPLY: &str = include_str!("../../../gateway/src/valkey/scripts/apply.lua");
const READ: &str = include_str!("../../../gateway/src/valkey/scripts/read.lua");
const FILL: &str = include_str!("../../../gateway/src/valkey/scripts/fill.lua");
const FREE: &str = include_str!("../../../gateway/src/valkey/scripts/free.lua");
const FLOOR: &str = include_str!("../../../gateway/src/valkey/scripts/floor.lua");

/// One hash tag on the node that owns it.
struct Tagged {
    connection: Resp,
    tag: String,
}

impl Tagged {
    async fn new() -> Tagged {
        let tag = format!("{{{}}}", fresh_name("script"));
        let owner: &Node = shared_valkey().await.primary_of(&tag).await.unwrap();
        Tagged { connection: Resp::connect(owner.address(), None).await.unwrap(), tag }
    }

    async fn run(&mut self, script: &str, keys: &[&str], args: &[&[u8]]) -> Reply {
        let mut command: Vec<Vec<u8>> = vec![b"EVAL".to_vec(), script.into(), keys.len().to_string().into()];
        command.extend(keys.iter().map(|key| format!("{}{key}", self.tag).into_bytes()));
        command.extend(args.iter().map(|arg| arg.to_vec()));
        self.connection.call(&command).await.unwrap()
    }

    async fn call(&mut self, name: &str, key: &str, rest: &[&str]) -> Reply {
        let key = format!("{}{key}", self.tag);
        let command: Vec<&str> = [name, &key].into_iter().chain(rest.iter().copied()).collect();
        self.connection.call(&command).await.unwrap()
    }
}

/// A ref of which only the offset matters here.
fn reference(offset: u64) -> Vec<u8> {
    let mut bytes = offset.to_be_bytes().to_vec();
    bytes.resize(40, b'.');
    bytes
}

fn texts(reply: &Reply) -> Vec<String> {
    reply.items().iter().map(Reply::text).collect()
}

#[tokio::test]
async fn open_answers_what_is_in_force() {
    let mut slot = Tagged::new().await;
    let opened = slot.run(OPEN, &["w"], &[b"", b"aa", b"5", b"0", b"5", b"9/9"]).await;
    assert_eq!(opened.text(), "aa 5 0 5 0 5 9/9");
    for seen in [&b""[..], b"cc"] {
        assert_eq!(slot.run(OPEN, &["w"], &[seen, b"bb", b"9", b"1", b"9", b"9/9"]).await, opened);
    }
    let replaced = slot.run(OPEN, &["w"], &[b"aa", b"bb", b"9", b"1", b"9", b"9/9"]).await;
    assert_eq!(replaced.text(), "bb 9 0 9 1 9 9/9");
    slot.call("DEL", "w", &[]).await;
    // Lost since it was seen: opened, whatever life was seen.
    let lost = slot.run(OPEN, &["w"], &[b"zz", b"dd", b"1", b"0", b"1", b"9/9"]).await;
    assert_eq!(lost.text(), "dd 1 0 1 0 1 9/9");
    assert_eq!(slot.call("PTTL", "w", &[]).await, Reply::Integer(-1), "a watermark never expires");
}

#[tokio::test]
async fn apply_says_why_it_changed_nothing() {
    let mut slot = Tagged::new().await;
    let ref7 = reference(7);
    let args: [&[u8]; 8] = [b"aa", b"7", b"8", b"100", b"5", b"1", &ref7, b"99999999999999"];
    assert_eq!(texts(&slot.run(APPLY, &["w", "l"], &args).await), ["NOGEN"]);
    slot.run(OPEN, &["w"], &[b"", b"bb", b"5", b"0", b"5", b"9/9"]).await;
    assert_eq!(texts(&slot.run(APPLY, &["w", "l"], &args).await), ["GEN", "bb"]);
    slot.run(OPEN, &["w"], &[b"bb", b"aa", b"5", b"0", b"5", b"9/9"]).await;
    assert_eq!(texts(&slot.run(APPLY, &["w", "l"], &args).await), ["GAP", "5"]);
    assert_eq!(slot.call("EXISTS", "l", &[]).await, Reply::Integer(0));
    assert_eq!(texts(&slot.call("HMGET", "w", &["o", "f"]).await), ["5", "0"]);
}

#[tokio::test]
async fn apply_lists_skips_trims_and_expires() {
    let mut slot = Tagged::new().await;
    slot.run(OPEN, &["w"], &[b"", b"aa", b"0", b"0", b"0", b"9/9"]).await;
    let refs: Vec<Vec<u8>> = (0..4).map(reference).collect();
    let early: &[u8] = b"88888888888888";
    let late: &[u8] = b"99999999999999";
    let mut args: Vec<&[u8]> = vec![b"aa", b"0", b"4", b"100", b"3", b"4"];
    for (listed, expiry) in refs.iter().zip([late, early, early, early]) {
        args.extend([listed.as_slice(), expiry]);
    }
    args.extend([refs[0].as_slice(), late, refs[1].as_slice(), late]);
    let keys = ["w", "l", "l", "l", "l", "i", "is", "i", "is"];
    assert_eq!(texts(&slot.run(APPLY, &keys, &args).await), ["OK"]);
    let list = slot.call("LRANGE", "l", &["0", "-1"]).await;
    let expected: Vec<Reply> = [3, 2, 1].into_iter().map(|offset| Reply::Bytes(reference(offset))).collect();
    assert_eq!(list.items(), expected);
    assert_eq!(slot.call("GET", "i", &[]).await, Reply::Bytes(reference(0)), "the first with an id wins");
    assert_eq!(slot.call("EXISTS", "is", &[]).await, Reply::Integer(0), "one entry is enough");
    assert_eq!(slot.call("PEXPIRETIME", "l", &[]).await, Reply::Integer(99_999_999_999_999));
    assert_eq!(texts(&slot.call("HMGET", "w", &["o", "f"]).await), ["4", "100"]);
    // The same again changes nothing, not even the freshness backwards.
    args[3] = b"90";
    assert_eq!(texts(&slot.run(APPLY, &keys, &args).await), ["OK"]);
    assert_eq!(slot.call("LRANGE", "l", &["0", "-1"]).await, list);
    assert_eq!(texts(&slot.call("HMGET", "w", &["o", "f"]).await), ["4", "100"]);
}

#[tokio::test]
async fn sources_that_share_an_id_have_entries_of_their_own() {
    let mut slot = Tagged::new().await;
    slot.run(OPEN, &["w"], &[b"", b"aa", b"2", b"0", b"0", b"9/9"]).await;
    let of = |offset: u64, source: u8| -> Vec<u8> { [&reference(offset)[..24], &[source; 16]].concat() };
    let expiry: &[u8] = b"99999999999999";
    let (a2, b3, b4) = (of(2, b'a'), of(3, b'b'), of(4, b'b'));
    let args: [&[u8]; 12] = [b"aa", b"2", b"5", b"", b"9", b"0", &a2, expiry, &b3, expiry, &b4, expiry];
    let keys = ["w", "i", "ia", "i", "ib", "i", "ib"];
    assert_eq!(texts(&slot.run(APPLY, &keys, &args).await), ["OK"]);
    let entries = |[alone, a, b]: [Option<&[u8]>; 3]| {
        let reply = |bytes: Option<&[u8]>| bytes.map_or(Reply::Nil, |bytes| Reply::Bytes(bytes.to_vec()));
        [("i", reply(alone)), ("ia", reply(a)), ("ib", reply(b))]
    };
    for (name, expected) in entries([Some(&a2), None, Some(&b3)]) {
        assert_eq!(slot.call("GET", name, &[]).await, expected, "{name}");
    }
    // Filled in: an older one of each.
    let (a0, b1) = (of(0, b'a'), of(1, b'b'));
    let args: [&[u8]; 10] = [b"aa", b"0", b"2", b"", b"9", b"0", &b1, expiry, &a0, expiry];
    assert_eq!(texts(&slot.run(FILL, &["w", "i", "ib", "i", "ia"], &args).await), ["OK"]);
    for (name, expected) in entries([Some(&a0), None, Some(&b1)]) {
        assert_eq!(slot.call("GET", name, &[]).await, expected, "{name}");
    }
}

#[tokio::test]
async fn apply_keeps_large_offsets_exactly() {
    let mut slot = Tagged::new().await;
    slot.run(OPEN, &["w"], &[b"", b"aa", b"9007199254740990", b"0", b"9007199254740990", b"9/9"]).await;
    let args: [&[u8]; 6] = [b"aa", b"9007199254740990", b"9007199254740991", b"", b"3", b"0"];
    assert_eq!(texts(&slot.run(APPLY, &["w"], &args).await), ["OK"]);
    assert_eq!(slot.call("HGET", "w", &["o"]).await.text(), "9007199254740991");
}

#[tokio::test]
async fn read_answers_with_the_watermark_of_the_same_moment() {
    let mut slot = Tagged::new().await;
    assert_eq!(slot.run(READ, &["w"], &[b"", b"none"]).await, Reply::List(vec![]));
    slot.run(OPEN, &["w"], &[b"", b"aa", b"0", b"0", b"0", b"9/9"]).await;
    let ref0 = reference(0);
    let expiry: &[u8] = b"99999999999999";
    let args: [&[u8]; 10] = [b"aa", b"0", b"1", b"100", b"3", b"1", &ref0, expiry, &ref0, expiry];
    slot.run(APPLY, &["w", "l", "i", "is"], &args).await;
    let watermark = Reply::Bytes(b"aa 1 100 0 0 0 9/9".to_vec());
    let found = |refs: &[u8], cut: &[u8]| {
        let length = i64::try_from(refs.len() / 40).unwrap();
        let [refs, cut] = [refs, cut].map(|bytes| Reply::Bytes(bytes.to_vec()));
        Reply::List(vec![watermark.clone(), Reply::Integer(length), refs, cut])
    };

    assert_eq!(slot.run(READ, &["w", "l"], &[b"aa", b"list", b"9", b"9"]).await, found(&ref0, b""));
    assert_eq!(slot.run(READ, &["w", "i"], &[b"aa", b"id"]).await, found(&ref0, b""));
    assert_eq!(slot.run(READ, &["w", "l2"], &[b"aa", b"list", b"9", b"9"]).await, found(b"", b""));
    assert_eq!(slot.run(READ, &["w", "i2"], &[b"aa", b"id"]).await, found(b"", b""));
    assert_eq!(slot.run(READ, &["w", "i2", "i"], &[b"aa", b"id"]).await, found(&ref0, b""));
    for named in [&b"bb"[..], b""] {
        let other = slot.run(READ, &["w", "l"], &[named, b"list", b"9", b"9"]).await;
        assert_eq!(
            other.items(),
            std::slice::from_ref(&watermark),
            "only the watermark, which tells the life"
        );
    }
}

#[tokio::test]
async fn read_tells_since_when_a_list_that_was_cut_is_whole() {
    let mut slot = Tagged::new().await;
    slot.run(OPEN, &["w"], &[b"", b"aa", b"0", b"0", b"0", b"9/2"]).await;
    let refs: Vec<Vec<u8>> = (0..4).map(reference).collect();
    let expiry: &[u8] = b"99999999999999";
    let mut args: Vec<&[u8]> = vec![b"aa", b"0", b"4", b"", b"3", b"4"];
    args.extend(refs.iter().flat_map(|at| [at.as_slice(), expiry]));
    slot.run(APPLY, &["w", "l", "l", "l", "l"], &args).await;
    // By the smaller of two measures: the life's, and the caller's.
    for (shown, wanted, newest, not_shown) in
        [("9", "9", &[3, 2, 1][..], &[1][..]), ("9", "1", &[3], &[1]), ("1", "2", &[3, 2], &[2, 1])]
    {
        let reply = slot.run(READ, &["w", "l"], &[b"aa", b"list", wanted.as_bytes(), shown.as_bytes()]).await;
        let those =
            |offsets: &[usize]| -> Vec<u8> { offsets.iter().flat_map(|at| refs[*at].clone()).collect() };
        let [_, length, found, cut] = reply.items() else { panic!("{reply:?}") };
        assert_eq!((length, found), (&Reply::Integer(3), &Reply::Bytes(those(newest))));
        assert_eq!(cut, &Reply::Bytes(those(not_shown)));
    }
}

#[tokio::test]
async fn free_takes_one_record_out_of_everything() {
    let mut slot = Tagged::new().await;
    let (ref0, ref1) = (reference(0), reference(1));
    let keys = ["w", "b", "i", "i2", "l", "l2"];
    assert_eq!(texts(&slot.run(FREE, &keys, &[b"aa", &ref0, b"9"]).await), ["NOGEN"]);
    slot.run(OPEN, &["w"], &[b"", b"aa", b"0", b"0", b"0", b"9/9"]).await;
    assert_eq!(texts(&slot.run(FREE, &keys, &[b"bb", &ref0, b"9"]).await), ["GEN", "aa"]);
    let expiry: &[u8] = b"99999999999999";
    let mut args: Vec<&[u8]> = vec![b"aa", b"0", b"2", b"", b"9", b"3"];
    args.extend([&ref0, expiry, &ref0, expiry, &ref1, expiry, &ref0, expiry, &ref1, expiry]);
    slot.run(APPLY, &["w", "l", "l2", "l", "i", "is", "i2", "is"], &args).await;
    slot.call("SET", "b", &["the body"]).await;
    assert_eq!(texts(&slot.run(FREE, &keys, &[b"aa", &ref0, b"9"]).await), ["OK"]);
    assert_eq!(slot.call("LRANGE", "l", &["0", "-1"]).await.items(), [Reply::Bytes(ref1.clone())]);
    for gone in ["b", "i", "l2"] {
        assert_eq!(slot.call("EXISTS", gone, &[]).await, Reply::Integer(0), "{gone}");
    }
    assert_eq!(slot.call("GET", "i2", &[]).await, Reply::Bytes(ref1), "another record has this id");
    assert_eq!(slot.call("HGET", "w", &["o"]).await.text(), "2", "the watermark stands");
    assert_eq!(texts(&slot.run(FREE, &keys, &[b"aa", &ref0, b"9"]).await), ["OK"], "safe to repeat");
}

#[tokio::test]
async fn floor_only_rises() {
    let mut slot = Tagged::new().await;
    assert_eq!(texts(&slot.run(FLOOR, &["w"], &[b"aa", b"5", b"50"]).await), ["NOGEN"]);
    slot.run(OPEN, &["w"], &[b"", b"aa", b"0", b"0", b"0", b"9/9"]).await;
    assert_eq!(texts(&slot.run(FLOOR, &["w"], &[b"bb", b"5", b"50"]).await), ["GEN", "aa"]);
    assert_eq!(texts(&slot.run(FLOOR, &["w"], &[b"aa", b"5", b"50"]).await), ["OK", "0"]);
    assert_eq!(texts(&slot.run(FLOOR, &["w"], &[b"aa", b"4", b"90"]).await), ["OK", "5"]);
    assert_eq!(texts(&slot.call("HMGET", "w", &["b", "bt", "s"]).await), ["5", "50", "5"]);
}

#[tokio::test]
async fn free_leaves_a_mark_in_a_list_that_may_have_been_cut() {
    let mut slot = Tagged::new().await;
    slot.run(OPEN, &["w"], &[b"", b"aa", b"0", b"0", b"0", b"9/9"]).await;
    let (ref0, ref1) = (reference(0), reference(1));
    let expiry: &[u8] = b"99999999999999";
    let args: [&[u8]; 10] = [b"aa", b"0", b"2", b"", b"2", b"2", &ref0, expiry, &ref1, expiry];
    slot.run(APPLY, &["w", "l", "l"], &args).await;
    assert_eq!(texts(&slot.run(FREE, &["w", "b", "i", "i2", "l"], &[b"aa", &ref0, b"2"]).await), ["OK"]);
    let mut mark = ref0[..16].to_vec();
    mark.resize(40, 0);
    let expected = [Reply::Bytes(ref1), Reply::Bytes(mark)];
    assert_eq!(slot.call("LRANGE", "l", &["0", "-1"]).await.items(), expected);
}

#[tokio::test]
async fn fill_says_why_it_changed_nothing() {
    let mut slot = Tagged::new().await;
    let ref4 = reference(4);
    let fill = |from: &'static [u8], to: &'static [u8]| -> [&[u8]; 8] {
        [b"aa", from, to, b"50", b"5", b"1", &ref4, b"99999999999999"]
    };
    assert_eq!(texts(&slot.run(FILL, &["w", "l"], &fill(b"4", b"5")).await), ["NOGEN"]);
    slot.run(OPEN, &["w"], &[b"", b"bb", b"5", b"60", b"2", b"9/9"]).await;
    assert_eq!(texts(&slot.run(FILL, &["w", "l"], &fill(b"4", b"5")).await), ["GEN", "bb"]);
    slot.run(OPEN, &["w"], &[b"bb", b"aa", b"5", b"60", b"2", b"9/9"]).await;
    for (from, to) in [(&b"3"[..], &b"4"[..]), (b"4", b"6"), (b"1", b"5")] {
        assert_eq!(texts(&slot.run(FILL, &["w", "l"], &fill(from, to)).await), ["FLOOR", "5"]);
    }
    assert_eq!(slot.call("EXISTS", "l", &[]).await, Reply::Integer(0));
    assert_eq!(texts(&slot.run(FILL, &["w", "l"], &fill(b"4", b"5")).await), ["OK"]);
    assert_eq!(texts(&slot.call("HMGET", "w", &["o", "b", "bt", "s"]).await), ["5", "4", "50", "2"]);
}

#[tokio::test]
async fn fill_lists_behind_what_is_there_as_far_as_lists_go() {
    let mut slot = Tagged::new().await;
    slot.run(OPEN, &["w"], &[b"", b"aa", b"5", b"60", b"0", b"9/9"]).await;
    let refs: Vec<Vec<u8>> = (0..6).map(reference).collect();
    let (early, late): (&[u8], &[u8]) = (b"88888888888888", b"99999999999999");
    let args: [&[u8]; 10] = [b"aa", b"5", b"6", b"", b"3", b"1", &refs[5], early, &refs[5], early];
    slot.run(APPLY, &["w", "l", "i", "is"], &args).await;
    let mut args: Vec<&[u8]> = vec![b"aa", b"1", b"5", b"", b"3", b"4"];
    for (offset, expiry) in [(4, early), (3, late), (2, early), (1, early)] {
        args.extend([refs[offset].as_slice(), expiry]);
    }
    args.extend([refs[4].as_slice(), late]);
    assert_eq!(texts(&slot.run(FILL, &["w", "l", "l", "l", "l2", "i", "is"], &args).await), ["OK"]);
    let list = |offsets: &[usize]| -> Vec<Reply> {
        offsets.iter().map(|offset| Reply::Bytes(refs[*offset].clone())).collect()
    };
    assert_eq!(slot.call("LRANGE", "l", &["0", "-1"]).await.items(), list(&[5, 4, 3]));
    assert_eq!(slot.call("LRANGE", "l2", &["0", "-1"]).await.items(), list(&[1]));
    assert_eq!(slot.call("PEXPIRETIME", "l", &[]).await, Reply::Integer(99_999_999_999_999));
    assert_eq!(slot.call("PEXPIRETIME", "l2", &[]).await, Reply::Integer(88_888_888_888_888));
    assert_eq!(slot.call("GET", "i", &[]).await, Reply::Bytes(refs[4].clone()), "the older one wins");
    assert_eq!(slot.call("EXISTS", "is", &[]).await, Reply::Integer(0));
    assert_eq!(texts(&slot.call("HMGET", "w", &["b", "bt"]).await), ["1", "60"], "its time is not told");
}
