//! How an event ends and, when it does not end well, what the client is told.
//!
//! [`Code`] is the one table of failure: every stage's error names a code, and the code alone decides the
//! HTTP status, the [`Outcome`] and the advice to retry. No stage knows HTTP; no edge invents a code.

use std::borrow::Cow;
use std::hash::{BuildHasher as _, RandomState};
use std::ops::Range;

/// How one event ended. Exactly one per event (`README.md`, "What an answer means").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// In the Kafka topic, written by the leader and every in-sync replica.
    Stored,
    /// Seen before with the same `source` and `id`; not stored again.
    Duplicate,
    /// A plugin decided that it is not to be stored.
    Dropped,
    /// In the dead-letter topic, with its reason.
    DeadLettered,
    /// The client's fault; not in any topic and never will be.
    Refused,
    /// Our fault or Kafka's; not in any topic and never will be.
    Failed,
    /// We cannot know: send it again with the same `source` and `id`.
    Unknown,
    /// A defect of ours: an event that ended without an outcome. Only a metric and an alert.
    Lost,
}

impl Outcome {
    /// Every outcome, in the order of the README's table.
    pub const ALL: [Outcome; 8] = [
        Outcome::Stored,
        Outcome::Duplicate,
        Outcome::Dropped,
        Outcome::DeadLettered,
        Outcome::Refused,
        Outcome::Failed,
        Outcome::Unknown,
        Outcome::Lost,
    ];

    /// The word used in metrics and, but for `Failed`, in answers.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Stored => "stored",
            Outcome::Duplicate => "duplicate",
            Outcome::Dropped => "dropped",
            Outcome::DeadLettered => "dead-lettered",
            Outcome::Refused => "refused",
            Outcome::Failed => "failed",
            Outcome::Unknown => "unknown",
            Outcome::Lost => "lost",
        }
    }

    /// The word used in answers.
    pub fn told(self) -> &'static str {
        if self == Outcome::Failed { "not-stored" } else { self.name() }
    }
}

/// What can go wrong, by the name the client sees. One row per code: name, status, outcome, title.
macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident $name:literal $status:literal $outcome:ident $title:literal;)*) => {
        /// What can go wrong, by the name the client sees.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* $variant,)* }

        impl Code {
            /// Every code, in the order of the table in `README.md`.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];
            /// The stable name, e.g. `schema-violation`.
            pub fn name(self) -> &'static str { match self { $(Code::$variant => $name,)* } }
            /// The HTTP status of an answer that carries this code.
            pub fn status(self) -> u16 { match self { $(Code::$variant => $status,)* } }
            /// How an event with this code ended.
            pub fn outcome(self) -> Outcome { match self { $(Code::$variant => Outcome::$outcome,)* } }
            /// One short sentence for people, the same for every occurrence (RFC 9457 §3.1.3).
            pub fn title(self) -> &'static str { match self { $(Code::$variant => $title,)* } }
        }
    };
}

codes! {
    // Framing and parsing: the client's bytes.
    InvalidJson "invalid-json" 400 Refused "The body is not valid JSON";
    InvalidUtf8 "invalid-utf8" 400 Refused "The body is not valid UTF-8";
    TooDeep "too-deep" 400 Refused "The JSON is nested too deeply";
    DuplicateKey "duplicate-key" 400 Refused "An object has the same key twice";
    NumberOutOfRange "number-out-of-range" 400 Refused "A number cannot be represented exactly";
    CloudEventsInvalid "cloudevents-invalid" 400 Refused "Not a valid CloudEvent 1.0";
    InvalidAttribute "invalid-attribute" 400 Refused "An attribute of the event is not usable";
    BodyIncomplete "body-incomplete" 400 Refused "The body ended before its announced length";
    BodyTimeout "body-timeout" 408 Refused "The body did not arrive in time";
    BodyTooLarge "body-too-large" 413 Refused "The body is larger than this gateway accepts";
    EventTooLarge "event-too-large" 413 Refused "The event is larger than this gateway accepts";
    BatchTooLarge "batch-too-large" 413 Refused "The batch holds more events than this gateway accepts";
    TooManyNodes "too-many-nodes" 413 Refused "The JSON holds more values than this gateway accepts";
    UnsupportedMediaType "unsupported-media-type" 415 Refused "The content type is not supported";
    UnsupportedEncoding "unsupported-encoding" 415 Refused "The content encoding is not supported";
    BadEncoding "bad-encoding" 400 Refused "The body is not what its content encoding says";
    DecompressedTooLarge "decompressed-too-large" 413 Refused "The body is too large once it is decompressed";
    // Matching.
    UnknownRoute "unknown-route" 404 Refused "No route takes this event";
    UnknownSchema "unknown-schema" 422 Refused "No schema is registered under this subject";
    SchemaViolation "schema-violation" 422 Refused "The event does not match its schema";
    PluginRefused "plugin-refused" 422 Refused "A plugin refused the event";
    PluginFailed "plugin-failed" 422 Refused "A plugin failed on the event";
    BatchRefused "batch-refused" 422 Refused "The batch was to be taken whole or not at all";
    RecordTooLarge "record-too-large" 413 Refused "The event is larger than its topic accepts";
    // More than a tenant may send.
    RateLimited "rate-limited" 429 Refused "The tenant sends more than it may";
    CreditExceeded "credit-exceeded" 429 Refused "More messages were sent than there was credit for";
    // Our side.
    Overloaded "overloaded" 503 Failed "The gateway is at its limit";
    ShuttingDown "shutting-down" 503 Failed "The gateway is stopping";
    KafkaUnavailable "kafka-unavailable" 503 Failed "Kafka did not take the event";
    TopicMissing "topic-missing" 503 Failed "The route's topic does not exist";
    DeliveryUnknown "delivery-unknown" 504 Unknown "Kafka did not confirm in time; the event may be stored";
    DeadlinePassed "deadline-passed" 504 Failed "The caller's deadline passed before anything was done";
    Internal "internal" 500 Failed "A defect in the gateway";
    // Requests that are not events.
    NotFound "not-found" 404 Refused "There is nothing at this path";
    MethodNotAllowed "method-not-allowed" 405 Refused "This path does not take this method";
    UriTooLong "uri-too-long" 414 Refused "The request target is too long";
    BadQuery "bad-query" 400 Refused "A query parameter is not usable";
    // Who may.
    Unauthorized "unauthorized" 401 Refused "A valid credential is needed";
    BadSignature "bad-signature" 401 Refused "The body is not signed as this route asks";
    NotPermitted "not-permitted" 403 Refused "The credential is not for this";
    CredentialMismatch "credential-mismatch" 403 Refused "The credentials of a request are of different tenants";
    // Plugin versions.
    Forbidden "forbidden" 403 Refused "This is not for pages in a browser";
    UnknownPlugin "unknown-plugin" 404 Refused "No route uses a plugin of this name";
    UnknownVersion "unknown-version" 404 Refused "There is no such version of the plugin";
    PluginUnusable "plugin-unusable" 422 Refused "The file cannot be used as this plugin";
    KeyChange "key-change" 409 Refused "Another version may move events to other partitions";
    // The config.
    ConfigUnusable "config-unusable" 422 Refused "The config cannot be used; the one in force stays";
    // Lookups.
    RecentDisabled "recent-disabled" 404 Refused "This route has no recent-event lookups";
    NotInWindow "not-in-window" 404 Refused "No such event within the window";
    Erased "erased" 410 Refused "The event was erased";
    PositionUnknown "position-unknown" 410 Refused "The topic does not reach this position";
    PositionGone "position-gone" 410 Refused "The topic does not hold this position any more";
    PositionElsewhere "position-elsewhere" 400 Refused "The position is in another partition than the key";
    InvalidationUnknown "invalidation-unknown" 504 Unknown "Kafka did not confirm the order in time; it may hold";
    TooManyInvalidations "too-many-invalidations" 503 Failed "Too many erasures and invalidations are in force";
    TailCut "tail-cut" 503 Failed "Events came faster than they were read";
    Behind "behind" 503 Failed "The read model cannot show that it reaches far enough";
}

impl Code {
    /// Whether the same request may succeed later, unchanged.
    pub fn retryable(self) -> bool {
        self == Code::RateLimited || self.status() >= 500 && self != Code::Internal
    }
}

/// The statuses of gRPC that a code can have (`google.rpc.Code`, by number).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names and meanings are gRPC's own")]
pub enum GrpcStatus {
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

impl GrpcStatus {
    /// The name as documents of gRPC write it.
    pub fn name(self) -> &'static str {
        match self {
            GrpcStatus::Unknown => "UNKNOWN",
            GrpcStatus::InvalidArgument => "INVALID_ARGUMENT",
            GrpcStatus::DeadlineExceeded => "DEADLINE_EXCEEDED",
            GrpcStatus::NotFound => "NOT_FOUND",
            GrpcStatus::PermissionDenied => "PERMISSION_DENIED",
            GrpcStatus::ResourceExhausted => "RESOURCE_EXHAUSTED",
            GrpcStatus::FailedPrecondition => "FAILED_PRECONDITION",
            GrpcStatus::OutOfRange => "OUT_OF_RANGE",
            GrpcStatus::Unimplemented => "UNIMPLEMENTED",
            GrpcStatus::Internal => "INTERNAL",
            GrpcStatus::Unavailable => "UNAVAILABLE",
            GrpcStatus::Unauthenticated => "UNAUTHENTICATED",
        }
    }
}

impl Code {
    /// The status of a gRPC call that ends with this code: what its HTTP status means there, but for a few.
    pub fn grpc(self) -> GrpcStatus {
        match self {
            Code::UnknownSchema => return GrpcStatus::FailedPrecondition,
            Code::PositionUnknown | Code::PositionGone => return GrpcStatus::OutOfRange,
            _ => {}
        }
        match self.status() {
            400 | 406 | 414 | 415 | 422 => GrpcStatus::InvalidArgument,
            401 => GrpcStatus::Unauthenticated,
            403 => GrpcStatus::PermissionDenied,
            404 | 410 => GrpcStatus::NotFound,
            405 | 501 => GrpcStatus::Unimplemented,
            408 | 504 => GrpcStatus::DeadlineExceeded,
            409 | 412 => GrpcStatus::FailedPrecondition,
            413 | 429 | 431 => GrpcStatus::ResourceExhausted,
            500 => GrpcStatus::Internal,
            503 => GrpcStatus::Unavailable,
            _ => GrpcStatus::Unknown,
        }
    }
}

/// One thing wrong inside an event. Never holds a value of the event, only where and which rule.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Violation {
    /// JSON pointer (RFC 6901) into the event's data.
    pub pointer: String,
    /// The schema keyword that failed, e.g. `required`.
    pub keyword: String,
    /// What the keyword asks for, from the schema, never from the event.
    pub detail: String,
}

/// An error as the client sees it (RFC 9457), before it has a wire form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which row of the table.
    pub code: Code,
    /// What to do about this occurrence. Public; holds no values of the event.
    pub detail: Cow<'static, str>,
    /// At most [`Problem::VIOLATIONS_MAX`] places in the event.
    pub violations: Vec<Violation>,
    /// For [`Code::NotInWindow`]: since when events are looked for (RFC 3339).
    pub window_start: Option<Box<str>>,
    /// In how many seconds the same request may succeed, where that is known.
    pub retry_after_s: Option<u64>,
}

impl Problem {
    /// The most violations one answer names.
    pub const VIOLATIONS_MAX: usize = 20;

    /// A problem with a code and what to do about it.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Problem {
            code,
            detail: detail.into(),
            violations: Vec::new(),
            window_start: None,
            retry_after_s: None,
        }
    }

    /// In how many seconds to come again, if that may help.
    pub fn retry_after_s(&self) -> Option<u64> {
        self.code.retryable().then(|| self.retry_after_s.unwrap_or_else(some_seconds))
    }

    /// The same, saying when to come again, in seconds.
    pub fn with_retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// The same, naming places in the event.
    pub fn with_violations(mut self, violations: Vec<Violation>) -> Self {
        self.violations = violations;
        self.violations.truncate(Self::VIOLATIONS_MAX);
        self
    }
}

/// What a client that was refused for our reasons is told to wait. Each is told another time, or all would come again at
/// once.
const SECONDS: Range<u64> = 1..6;

/// A few seconds by chance, for who may try again.
pub fn some_seconds() -> u64 {
    // Each state hashes with keys of its own: chance enough to spread clients.
    SECONDS.start + RandomState::new().hash_one(()) % (SECONDS.end - SECONDS.start)
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.detail)
    }
}

impl std::error::Error for Problem {}
