"""python3 -m unittest"""

import importlib.util
import io
import json
import sys
import unittest
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace

import weir_plugin
from weir_plugin import ABSENT, IN_BATCH, Verdict, dead_letter, drop, fail, plugin, refuse


def module(name, **members):
    sys.modules[name] = ModuleType(name)
    vars(sys.modules[name]).update(members)
    return sys.modules[name]


class Err(Exception):
    def __init__(self, value):
        self.value = value


@dataclass
class Error:
    code: int
    message: str
    retryable: bool


@dataclass
class Output:
    arena: bytes
    actions: bytes
    ops: list


class Info(SimpleNamespace):
    NAMES = ("name", "version", "sdk", "fields", "needs_payload", "roles", "max_batch", "meta")

    def __init__(self, *values):
        super().__init__(**dict(zip(self.NAMES, values, strict=True)))


# What componentize-py and `build` make.
module("componentize_py_types", Err=Err)
module("weir_about", NAME="test", VERSION="1.2.3")
for package in ("wit_world", "wit_world.exports"):
    module(package)
module("wit_world.exports.processor", Output=Output)
module("wit_world.imports", log=None, metrics=None)
module("wit_world.imports.types", Error=Error, Info=Info)


def load(path, name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def guest_of(definition):
    """The guest of a plugin, natively: with its log on standard error again."""
    weir_plugin.defined[:] = [definition]
    sys.modules["plugin"] = ModuleType("plugin")
    streams = sys.stdout, sys.stderr
    guest = load("weir_guest.py", "weir_guest")
    sys.stdout, sys.stderr = streams
    weir_plugin.host = None
    return guest


def define(process, **how):
    plugin(**{"roles": [], "fields": [], **how})(process)
    return weir_plugin.defined[-1]


def bind(definition, config=None):
    guest = guest_of(definition)
    guest.Lifecycle().init(SimpleNamespace(config_json=json.dumps(config or {})))
    return guest


def batch_of(*events):
    """A batch as the host lays it out; an event is its payload and its fields: (kind, text), or None."""
    arena, spans, kinds = bytearray(b"..."), [], bytearray()

    def put(kind, content):
        spans.extend((ABSENT, 0) if content is None else (len(arena), len(content)))
        kinds.append(0 if content is None else kind)
        arena.extend(content or b"")

    for payload, *fields in events:
        put(8, payload)
        for field in fields:
            put(*((field[0], field[1].encode()) if field else (0, None)))
    times = [1764119063123456789 + index for index in range(len(events))]
    return SimpleNamespace(arena=bytes(arena), spans=spans, kinds=bytes(kinds), stride=len(events[0]), times=times)


def run(definition, *events, config=None):
    """What the host would read: per event its action, and its ops as (opcode, name, value, whether it was copied)."""
    batch = batch_of(*events)
    output = bind(definition, config).Processor().process(batch)
    answers = [(action, []) for action in output.actions]
    rows = list(zip(*[iter(output.ops)] * 6, strict=True))
    for event, opcode, name, name_length, value, value_length in rows:
        in_batch = bool(opcode & IN_BATCH)
        values = batch.arena if in_batch else output.arena
        assert (name_length or name == 0) and (value_length or in_batch or value == 0), "an unused span is 0, 0"
        texts = output.arena[name : name + name_length].decode(), values[value : value + value_length].decode()
        answers[event][1].append((opcode & ~IN_BATCH, *texts, not in_batch))
    return answers


def seen(read, *event):
    found = []
    run(define(lambda event, patch, config: found.append(read(event))), event)
    return found[0]


class Reading(unittest.TestCase):
    def test_fields_keep_their_kinds_and_end_where_the_event_ends(self):
        fields = [(1, "5"), (2, "5"), (3, "1e2"), (4, "true"), (5, "null"), (6, "[1]"), (7, '{"a":"é"}'), None, (1, "")]
        expected = [("text", "5"), ("integer", 5), ("float", 100.0), ("bool", True), ("null", None), ("array", [1])]
        expected += [("object", {"a": "é"}), None, ("text", "")]
        read = lambda event: [field and (field.kind, field.value) for field in event.fields()]
        self.assertEqual(seen(read, None, *fields), expected)
        self.assertIsInstance(seen(lambda event: event.field(1).value, None, *fields), int)
        named = seen(lambda event: [field and field.names_entity for field in event.fields()], None, *fields)
        self.assertEqual(named, [True, True, False, False, False, False, False, None, False])
        keys = seen(lambda event: [event.entity(index) and event.entity(index).text for index in range(9)], None, *fields)
        self.assertEqual(keys, ["5", "5", *[None] * 7])
        self.assertEqual(seen(lambda event: [event.field(1), event.field(-1)], b"{}", (1, "a")), [None, None])
        self.assertEqual(seen(lambda event: event.field(0).value, None, (2, "12345678901234567890")), 12345678901234567890)
        self.assertEqual(seen(lambda event: event.field(0).kind, None, (42, "x")), "bytes")

    def test_payload_and_time_belong_to_the_event(self):
        found = []
        process = lambda event, patch, config: found.append((event.payload, event.time_ns, event.field(0) is None))
        run(define(process), ("ü".encode(), None), (None, (1, "b")))
        self.assertEqual(found, [("ü".encode(), 1764119063123456789, True), (b"", 1764119063123456790, False)])


class Patching(unittest.TestCase):
    def test_a_field_travels_by_its_span_and_everything_else_is_copied(self):
        def process(event, patch, config):
            text, number = event.fields()
            patch.partition_key(text)
            patch.lookup_key("user", "é")
            patch.lookup_key("user", number)
            patch.set_header("x-a", b"b")
            patch.remove_header("x-b")
            patch.json_set("/n", number)
            patch.json_set("/s", text)
            patch.json_set("/o", {"n": number, "list": [None, "ü"]})
            patch.json_remove("/gone")
            patch.replace_payload("{}")
            patch.set_topic("")

        event = (None, (1, 'a"b'), (2, "17"))
        expected = [(1, "", 'a"b', False), (2, "user", "é", True), (2, "user", "17", False), (3, "x-a", "b", True)]
        expected += [(4, "x-b", "", True), (5, "/n", "17", False), (5, "/s", '"a\\"b"', True)]
        expected += [(5, "/o", '{"n":17,"list":[null,"ü"]}', True), (6, "/gone", "", True), (7, "", "{}", True), (8, "", "", True)]
        self.assertEqual(run(define(process), event, event), [(0, expected)] * 2)

    def test_a_field_kept_from_another_batch_is_copied(self):
        kept = []

        def process(event, patch, config):
            kept.append(event.field(0))
            patch.partition_key(kept[0])

        processor = bind(define(process)).Processor()
        processor.process(batch_of((None, (1, "first"))))
        output = processor.process(batch_of((None, (1, "other"))))
        self.assertEqual((output.arena, output.ops), (b"first", [0, 1, 0, 0, 0, 5]))

    def test_an_event_that_does_not_pass_keeps_its_reason_and_nothing_else(self):
        verdicts = [Verdict(0), drop("no"), refuse("bad"), dead_letter("later"), fail("\ud800"), None]
        left = iter(verdicts)

        def process(event, patch, config):
            patch.set_header("x", event.field(0))
            return next(left)

        header = [(3, "x", "v", False)]
        reasons = [(1, "no"), (2, "bad"), (3, "later"), (4, "?")]
        expected = [(0, header), *((action, [(9, "", text, True)]) for action, text in reasons), (0, header)]
        self.assertEqual(run(define(process), *[(None, (1, "v"))] * len(verdicts)), expected)


class Failing(unittest.TestCase):
    def test_what_is_raised_for_one_event_fails_that_event_and_quotes_nothing_of_it(self):
        def process(event, patch, config):
            patch.partition_key(event.field(0))
            match event.field(0).text:
                case "raises":
                    raise KeyError("secret")
                case "none":
                    patch.partition_key(None)
                case "other":
                    return True
                case "nan":
                    patch.json_set("/x", float("nan"))

        with redirect_stderr(io.StringIO()) as lines:
            answers = run(define(process), *((None, (1, text)) for text in ("raises", "fine", "none", "other", "nan")))
        self.assertEqual([action for action, _ in answers], [4, 0, 4, 4, 4])
        raised = ["the plugin raised KeyError", "fine", *["the plugin raised TypeError"] * 2, "the plugin raised ValueError"]
        self.assertEqual([ops[0][2] for _, ops in answers], raised)
        self.assertRegex(lines.getvalue(), r"KeyError at .*test_weir_plugin\.py:\d+")
        self.assertNotIn("secret", lines.getvalue())

    def test_describe_init_and_health_answer_with_the_contracts_errors(self):
        def unwell(config):
            raise ValueError("unwell")

        configure = lambda config: config["field"].strip()
        guest = guest_of(define(print, fields=lambda field: [field], configure=configure, health=unwell, roles=["key"], max_batch=8))
        lifecycle = guest.Lifecycle()
        info = Info("test", "1.2.3", "weir-plugin-python 0.1.0", ["attr:type"], False, ["key"], 8, [])
        self.assertEqual(lifecycle.describe('{"field": " attr:type "}'), info)

        def code(call, *arguments):
            with self.assertRaises(Err) as raised:
                call(*arguments)
            self.assertFalse(raised.exception.value.retryable)
            return raised.exception.value.code

        self.assertEqual(code(guest.Processor().process, batch_of((None,))), 2)
        self.assertEqual(code(lifecycle.health), 2)
        self.assertEqual(code(lifecycle.describe, "{"), 1)
        self.assertEqual(code(lifecycle.init, SimpleNamespace(config_json="{}")), 1)
        lifecycle.init(SimpleNamespace(config_json='{"field": "attr:type"}'))
        self.assertEqual(code(lifecycle.health), 3)


class Example(unittest.TestCase):
    def test_drops_what_is_on_the_list_by_value_and_type(self):
        load("example/plugin.py", "example")
        config = {"field": "data:/user/id", "deny": ["probe", 5]}
        events = [(None, (1, "probe")), (None, (2, "5")), (None, (1, "5")), (None, (4, "true")), (None, (6, "[5]")), (None, None)]
        answers = run(weir_plugin.defined[-1], *events, config=config)
        self.assertEqual([action for action, _ in answers], [1, 1, 0, 0, 0, 0])
        self.assertEqual(answers[0][1], [(9, "", "on the deny list", True)])


if __name__ == "__main__":
    unittest.main()
