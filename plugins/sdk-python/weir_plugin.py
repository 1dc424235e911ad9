"""Weir plugins in Python: what an author imports. guest.py makes the contract's exports of it; the numbers
(kinds, actions, opcodes) are those of wit/README.md."""

import json
import sys
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace

ABSENT = 0xFFFFFFFF
# The value span points into the batch's arena.
IN_BATCH = 0x80000000
KINDS = (None, "text", "integer", "float", "bool", "null", "array", "object")


@dataclass(frozen=True)
class Verdict:
    """What becomes of an event. Reasons are public and hold no values of the event; 256 bytes of them are kept."""

    action: int
    reason: str = ""


PASS = Verdict(0)  # it goes on, patched or not; returning nothing says the same
drop = partial(Verdict, 1)  # it is not stored, and that is fine
refuse = partial(Verdict, 2)  # it is not stored, by the client's fault
dead_letter = partial(Verdict, 3)  # it is kept aside
fail = partial(Verdict, 4)  # the plugin cannot judge it; the route says what happens then


defined = []


def plugin(*, roles, fields, needs_payload=False, max_batch=0, configure=lambda config: config, health=lambda config: None):
    """Makes `process(event, patch, config)` the plugin. It must be pure per event, for the host may run one twice; what it
    raises fails that event alone.

    roles: "filter", "key", "enrich": what it may do.
    fields: selectors (`data:/json/pointer`, `attr:type`, `header:x-name`), or a function of the config; their places are those
        of `event.field`.
    needs_payload: whether it needs whole payloads; far dearer than fields.
    max_batch: the most events of one batch; 0 leaves it to the host.
    configure: makes of the route's config (a dict) what the others get; raises if it cannot be used.
    health: a self-test, run before this version takes traffic; raises if the plugin is not well."""

    known = {"needs_payload": needs_payload, "max_batch": max_batch, "configure": configure, "health": health}

    def define(process):
        defined.append(SimpleNamespace(process=process, roles=list(roles), fields=fields, **known))
        return process

    return define


class Event:
    """One event: the fields that the plugin declared and, if it asked for it, the payload."""

    __slots__ = ("_batch", "_index")

    def __init__(self, batch, index):
        self._batch, self._index = batch, index

    def field(self, index):
        """The field at this place of `fields`; None if the event lacks it."""
        return self._column(index + 1) if index >= 0 else None

    def entity(self, index):
        """The same, if it can name an entity: what keys are made of."""
        field = self.field(index)
        return field if field and field.names_entity else None

    def fields(self):
        """All declared fields, in order."""
        return [self._column(column) for column in range(1, self._batch.stride)]

    @property
    def payload(self):
        """The original bytes; empty unless the plugin has `needs_payload`."""
        column = self._column(0)
        return column.bytes if column else b""

    @property
    def time_ns(self):
        """When the gateway received it, in nanoseconds since 1970."""
        return self._batch.times[self._index]

    def _column(self, column):
        batch = self._batch
        if column >= batch.stride:
            return None
        span = self._index * batch.stride + column
        offset, length = batch.spans[2 * span : 2 * span + 2]
        return None if offset == ABSENT else Field(batch.arena, offset, length, batch.kinds[span])


class Field:
    """One value of an event; decoded when asked for."""

    __slots__ = ("_arena", "_offset", "_length", "kind")

    def __init__(self, arena, offset, length, kind):
        self._arena, self._offset, self._length = arena, offset, length
        # What it is: `5` and `"5"` have the same text and different kinds.
        self.kind = KINDS[kind] if 0 < kind < len(KINDS) else "bytes"

    @property
    def bytes(self):
        return self._arena[self._offset : self._offset + self._length]

    @property
    def text(self):
        """A string's characters, or the source text of anything else."""
        return self.bytes.decode()

    @property
    def value(self):
        """What it means: 5 or "5", a dict, None."""
        if self.kind == "bytes":
            return self.bytes
        return self.text if self.kind == "text" else json.loads(self.bytes)

    @property
    def names_entity(self):
        """Whether it can name an entity, as a key does: a string that is not empty, or an integer."""
        return self.kind == "integer" or (self.kind == "text" and self._length > 0)


class Patch:
    """The changes to an event, applied in the order given if the verdict is to pass. A value is a field of the event, which
    travels without a copy, or text or bytes."""

    def __init__(self, batch_arena):
        self._batch_arena = batch_arena
        self.arena, self.ops = bytearray(), []
        self._event, self._kept, self._names = 0, 0, {}

    def partition_key(self, key):
        """The partition key: not empty, at most 512 bytes. The last one wins."""
        self._op(1, "", key)

    def lookup_key(self, kind, key):
        """A key that finds this event in lookups by `kind`: `[a-z0-9_-]`, at most 32 bytes; the key as above."""
        self._op(2, kind, key)

    def set_header(self, name, value):
        """A record header in lower case. `weir-*`, `ce_*` and `content-type` are the gateway's own."""
        self._op(3, name, value)

    def remove_header(self, name):
        """Takes a header away that an earlier plugin set."""
        self._op(4, name, b"")

    def json_set(self, pointer, value):
        """Sets one place of the data, by JSON pointer, to any JSON value or a field."""
        # Any field but a string's is JSON text as it is.
        is_source = isinstance(value, Field) and value.kind != "text"
        self._op(5, pointer, value if is_source else _json(value))

    def json_remove(self, pointer):
        """Removes one place of the data, by JSON pointer."""
        self._op(6, pointer, b"")

    def replace_payload(self, payload):
        """The data as a whole."""
        self._op(7, "", payload)

    def set_topic(self, topic):
        """Another topic, out of those that the route allows."""
        self._op(8, "", topic)

    def end(self, verdict):
        """For the host: ends an event. One that does not pass keeps nothing but its reason."""
        if verdict.action != PASS.action:
            del self.ops[self._kept :]
            self._op(9, "", str(verdict.reason))
        self._event, self._kept = self._event + 1, len(self.ops)
        return verdict.action

    def _op(self, opcode, name, value):
        if name not in self._names:  # a batch repeats the same few
            self._names[name] = self._store(name.encode())
        if isinstance(value, Field) and value._arena is self._batch_arena:
            opcode, span = opcode | IN_BATCH, (value._offset, value._length)
        else:
            span = self._store(_bytes(value))
        self.ops += (self._event, opcode, *self._names[name], *span)

    def _store(self, stored):
        offset = len(self.arena) if stored else 0
        self.arena += stored
        return offset, len(stored)


def _bytes(value):
    if isinstance(value, Field):
        return value.bytes
    if isinstance(value, str):
        return value.encode(errors="replace")
    if isinstance(value, (bytes, bytearray)):
        return value
    raise TypeError("a value is a str, bytes or a field")


def _json(value):
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=lambda field: field.value)


# The modules of the host's imports, once guest.py has them; natively there are none.
host = None


def _write(level, message):
    if host:
        host.log.write(host.log.Level[level], str(message))
    else:
        print(f"{level}: {message}", file=sys.stderr)


# Lines in the gateway's log, without values of events; in native tests they go to standard error.
log = SimpleNamespace(**{level.lower(): partial(_write, level) for level in ("DEBUG", "INFO", "WARN", "ERROR")})


class counter:
    """A counter in the gateway's metrics: `[a-z][a-z0-9_]*`. Its id is asked for late: at build time there is no host."""

    def __init__(self, name):
        self._name, self._id = name, None

    def add(self, delta=1):
        if host:
            self._id = host.metrics.counter(self._name) if self._id is None else self._id
            host.metrics.add(self._id, delta)


class histogram:
    """A histogram in the gateway's metrics."""

    def __init__(self, name):
        self._name, self._id = name, None

    def observe(self, value):
        if host:
            self._id = host.metrics.histogram(self._name) if self._id is None else self._id
            host.metrics.observe(self._id, float(value))
