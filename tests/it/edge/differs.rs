//! Where the gateway's answer is another than the one it was designed against, and why. `DECISIONS.md` gathers them.

/// The row's number, what is different, and the reason.
pub(super) const DIFFERS: &[(u8, &str, &str)] = &[
    (1, "a bare LF ends a line", "RFC 9112 §2.2 allows it, and no line of ours is read by another"),
    (3, "a target beyond 32 KiB is 431", "it is part of the head, whose limit comes first"),
    (10, "no rate of its own: a whole body has 10 s", "beyond 10 KiB that is more than 1 KiB/s"),
    (
        11,
        "a large event is `event-too-large`, after it was read",
        "only its frame tells an event from an array",
    ),
    (
        15,
        "`br` is taken; the code is `unsupported-encoding`",
        "its 415 names codings, the other one media types",
    ),
    (21, "UTF-16 without a byte order mark is `invalid-json`", "it is valid UTF-8, full of NULs"),
    (
        22,
        "half a surrogate pair is `invalid-utf8`, never repaired",
        "no text can hold it; a changed event is another",
    ),
    (
        28,
        "a large array is `batch-too-large`, a long key `event-too-large`",
        "an array is a batch; a key is one node",
    ),
    (
        31,
        "in protobuf a missing attribute is an empty one, `invalid-attribute`",
        "proto3 does not tell them apart",
    ),
    (32, "1 024 bytes for an attribute, not 256", "GitHub's and S3's sources are longer"),
    (32, "an empty id of plain JSON counts as none", "it is made, as if the field were not there"),
    (33, "the last day of year 9999 is refused", "times are instants, and end where no zone passes the year"),
    (36, "10 000 events in a batch; 207 when some failed", "what an answer means, `README.md`"),
    (36, "the same id twice is stored twice", "there is no deduplication yet"),
    (50, "`bad-query`; a limit beyond the largest is the largest", "one code for all query parameters"),
    (20, "two texts with equal keys are refused", "row 25 of the same list"),
    (
        56,
        "floods of PING and SETTINGS are answered",
        "they cost 0.5 µs each, and the client pays for its bytes",
    ),
    (56, "a client that opens no window is cut after 75 to 150 s", "the one idle limit, DECISIONS 8"),
];
