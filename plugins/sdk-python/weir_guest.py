"""The contract's exports, for the plugin in plugin.py. `build` makes weir_about of its pyproject.toml, and wit_world of wit/."""

import io
import json
import sys
from types import SimpleNamespace

import weir_plugin
from componentize_py_types import Err
from weir_about import NAME, VERSION
from weir_plugin import PASS, Event, Patch, Verdict, fail, log
from wit_world.exports.processor import Output
from wit_world.imports import log as host_log, metrics
from wit_world.imports.types import Error, Info

import plugin  # defines itself

BAD_CONFIG, NOT_BOUND, UNHEALTHY, OTHER = 1, 2, 3, 4

if len(weir_plugin.defined) != 1:
    raise SystemExit("plugin.py has one function under @plugin")
[definition] = weir_plugin.defined
weir_plugin.host = SimpleNamespace(log=host_log, metrics=metrics)
bound = []


class Printed(io.TextIOBase):
    """What is printed: standard output is WASI's, and a call of what is not there would be a trap."""

    def write(self, text):
        if text.strip():
            log.info(text.rstrip())
        return len(text)


sys.stdout = sys.stderr = Printed()


class Failing:
    """Whatever is raised within is an error of the contract: on any other, the guest traps."""

    def __init__(self, code):
        self.code = code

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if error and not isinstance(error, Err):
            raise Err(Error(self.code, f"{kind.__name__}: {error}", False)) from None


def config():
    if not bound:
        raise Err(Error(NOT_BOUND, "called before init", False))
    return bound[0]


class Lifecycle:
    def describe(self, config_json):
        with Failing(BAD_CONFIG):
            configured = definition.configure(json.loads(config_json))
            fields = definition.fields(configured) if callable(definition.fields) else definition.fields
            needs_payload, max_batch = definition.needs_payload, definition.max_batch
            return Info(
                NAME, VERSION, "weir-plugin-python 0.1.0", list(fields), needs_payload, definition.roles, max_batch, []
            )

    def init(self, binding):
        with Failing(BAD_CONFIG):
            bound[:] = [definition.configure(json.loads(binding.config_json))]

    def health(self):
        with Failing(UNHEALTHY):
            definition.health(config())


class Processor:
    def process(self, batch):
        with Failing(OTHER):
            configured, patch = config(), Patch(batch.arena)
            events = (Event(batch, index) for index in range(len(batch.times)))
            actions = bytes([patch.end(judge(event, patch, configured)) for event in events])
            return Output(bytes(patch.arena), actions, patch.ops)


def judge(event, patch, configured):
    try:
        verdict = definition.process(event, patch, configured)
        if verdict is not None and not isinstance(verdict, Verdict):
            raise TypeError("`process` returns a verdict or nothing")
        return verdict or PASS
    except Exception as error:
        # Its type and place only: a message may quote the event.
        place = error.__traceback__.tb_next or error.__traceback__
        log.error(f"process raised {type(error).__name__} at {place.tb_frame.f_code.co_filename}:{place.tb_lineno}")
        return fail(f"the plugin raised {type(error).__name__}")
