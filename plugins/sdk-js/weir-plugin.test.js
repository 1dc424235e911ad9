// node --test
import assert from "node:assert/strict";
import { register } from "node:module";
import test from "node:test";
import { decode, deadLetter, drop, encode, exportsOf, fail, log, pass, plugin, refuse } from "./weir-plugin.js";

// What `build` tells its bundler: where a plugin finds `weir-plugin`.
const sdk = JSON.stringify(new URL("./weir-plugin.js", import.meta.url).href);
const resolve = `export const resolve = (name, context, next) => next(name === "weir-plugin" ? ${sdk} : name, context)`;
register(`data:text/javascript,${encodeURIComponent(resolve)}`);
const { default: maskField } = await import("./example/plugin.js");

const ABSENT = 0xffffffff;

/** A batch as the host lays it out; an event is its payload and its fields: [kind, text], or undefined. */
function batchOf(events, { signed = false } = {}) {
  const arena = [7, 7, 7], spans = [], kinds = [];
  const put = (kind, bytes) => {
    spans.push(bytes ? arena.length : signed ? ABSENT | 0 : ABSENT, bytes?.length ?? 0);
    kinds.push(bytes ? kind : 0);
    arena.push(...(bytes ?? []));
  };
  for (const { payload, fields } of events) {
    put(8, payload && encode(payload));
    for (const field of fields) field ? put(field[0], encode(field[1])) : put(0, undefined);
  }
  const times = events.map((_, index) => 1764119063123456789n + BigInt(index));
  const schemas = events.map(() => 0);
  return { arena: Uint8Array.from(arena), spans, kinds: Uint8Array.from(kinds), stride: 1 + events[0].fields.length, times, schemas };
}

const bind = (definition, config = {}) => {
  const exports = exportsOf(plugin({ roles: [], fields: [], ...definition }), { name: "test", version: "1.0.0" });
  exports.lifecycle.init({ configJson: JSON.stringify(config), schemas: [], host: "test", meta: [] });
  return exports;
};

/** What the host would read: per event its action, and its ops as [opcode, name, value, whether it was copied]. */
function run(definition, events, { config, ...how } = {}) {
  const batch = batchOf(events, how);
  const { arena, actions, ops } = bind(definition, config).processor.process(batch);
  const answers = [...actions].map((action) => ({ action, ops: [] }));
  assert.equal(ops.length % 6, 0);
  for (let row = 0; row < ops.length; row += 6) {
    const [event, opcode, ...spans] = ops.slice(row, row + 6).map((number) => number >>> 0);
    const inBatch = opcode >= 0x80000000;
    if (spans[1] === 0) assert.equal(spans[0], 0);
    if (spans[3] === 0 && !inBatch) assert.equal(spans[2], 0);
    const slice = (bytes, offset, length) => decode(bytes.subarray(offset, offset + length));
    const value = slice(inBatch ? batch.arena : arena, spans[2], spans[3]);
    answers[event].ops.push([opcode & 0x7fffffff, slice(arena, spans[0], spans[1]), value, !inBatch]);
  }
  return answers;
}

const seen = (fields, read, how) => {
  const found = [];
  run({ process: (event) => void found.push(read(event)) }, [{ fields }], how);
  return found[0];
};

test("fields keep their kinds, are found by their place, and end where the event ends", () => {
  const fields = [[1, "5"], [2, "5"], [3, "1e2"], [4, "true"], [5, "null"], [6, "[1]"], [7, '{"a":"é"}'], undefined, [1, ""]];
  for (const signed of [false, true]) {
    const found = seen(fields, (event) => event.fields().map((field) => field && [field.kind, field.value]), { signed });
    assert.deepEqual(found, [
      ["text", "5"], ["integer", 5], ["float", 100], ["bool", true], ["null", null], ["array", [1]],
      ["object", { a: "é" }], undefined, ["text", ""],
    ]);
  }
  const names = seen(fields, (event) => event.fields().map((field) => field?.namesEntity));
  assert.deepEqual(names, [true, true, false, false, false, false, false, undefined, false]);
  const keys = seen(fields, (event) => fields.map((_, index) => event.entity(index)?.text));
  assert.deepEqual(keys, ["5", "5", ...fields.slice(2).map(() => undefined)]);
  const beyond = (event) => void assert.deepEqual([event.field(1), event.field(-1)], [undefined, undefined]);
  assert.equal(run({ process: beyond }, [{ payload: "{}", fields: [[1, "a"]] }])[0].action, pass.action);
  assert.equal(seen([[2, "12345678901234567890"]], (event) => event.field(0).text), "12345678901234567890");
  assert.equal(seen([[42, "x"]], (event) => event.field(0).kind), "bytes");
});

test("payload and time belong to the event", () => {
  const found = [];
  const process = (event) => void found.push([decode(event.payload), event.timeNs, event.field(0)?.text]);
  run({ process }, [{ payload: '{"ü":1}', fields: [undefined] }, { fields: [[1, "b"]] }]);
  assert.deepEqual(found, [['{"ü":1}', 1764119063123456789, undefined], ["", 1764119063123456790, "b"]]);
});

test("a field travels by its span, everything else is copied, in the order given", () => {
  const process = (event, patch) => {
    const [text, number] = event.fields();
    patch.partitionKey(text);
    patch.lookupKey("user", "é");
    patch.lookupKey("user", number);
    patch.setHeader("x-a", encode("b"));
    patch.removeHeader("x-b");
    patch.jsonSet("/n", number);
    patch.jsonSet("/s", text);
    patch.jsonSet("/o", { n: number, list: [null, "ü"] });
    patch.jsonRemove("/gone");
    patch.replacePayload("{}");
    patch.setTopic("");
  };
  const fields = [[1, 'a"b'], [2, "17"]];
  const expected = [
    [1, "", 'a"b', false], [2, "user", "é", true], [2, "user", "17", false], [3, "x-a", "b", true], [4, "x-b", "", true],
    [5, "/n", "17", false], [5, "/s", '"a\\"b"', true], [5, "/o", '{"n":17,"list":[null,"ü"]}', true], [6, "/gone", "", true],
    [7, "", "{}", true], [8, "", "", true],
  ];
  assert.deepEqual(run({ process }, [{ fields }, { fields }]), [{ action: 0, ops: expected }, { action: 0, ops: expected }]);
});

test("a field kept from another batch is copied, not pointed to", () => {
  let kept;
  const { processor } = bind({ process: (event, patch) => patch.partitionKey((kept ??= event.field(0))) });
  processor.process(batchOf([{ fields: [[1, "first"]] }]));
  const { arena, ops } = processor.process(batchOf([{ fields: [[1, "other"]] }]));
  assert.deepEqual([decode(arena), ops], ["first", [0, 1, 0, 0, 0, 5]]);
});

test("an event that does not pass keeps its reason and nothing else; the others keep theirs", () => {
  const verdicts = [pass, drop("no"), refuse("bad"), deadLetter("later"), fail("hm"), undefined];
  let next = 0;
  const process = (event, patch) => {
    patch.setHeader("x", event.field(0));
    return verdicts[next++];
  };
  const events = verdicts.map(() => ({ fields: [[1, "v"]] }));
  const header = [[3, "x", "v", false]];
  const reason = (text) => [[9, "", text, true]];
  assert.deepEqual(run({ process }, events), [
    { action: 0, ops: header }, { action: 1, ops: reason("no") }, { action: 2, ops: reason("bad") },
    { action: 3, ops: reason("later") }, { action: 4, ops: reason("hm") }, { action: 0, ops: header },
  ]);
});

test("what is thrown for one event fails that event, and quotes nothing of it", (t) => {
  const lines = t.mock.method(console, "error", () => {});
  const process = (event, patch) => {
    patch.partitionKey(event.field(0));
    const text = event.field(0).text;
    if (text === "throws") throw new RangeError(`secret ${text}`);
    if (text === "undefined") patch.partitionKey(undefined);
    if (text === "async") return Promise.resolve(pass);
    if (text === "string") throw text;
  };
  const events = ["throws", "fine", "undefined", "async", "string"].map((text) => ({ fields: [[1, text]] }));
  const answers = run({ process }, events);
  assert.deepEqual(answers.map(({ action }) => action), [4, 0, 4, 4, 4]);
  assert.deepEqual(answers.map(({ ops }) => ops[0][2]), [
    "the plugin threw RangeError", "fine", "the plugin threw TypeError", "the plugin threw TypeError", "the plugin threw string",
  ]);
  assert.equal(lines.mock.callCount(), 4);
  assert.match(lines.mock.calls[0].arguments[0], /RangeError at .*process .*weir-plugin\.test\.js/);
  assert.doesNotMatch(lines.mock.calls[0].arguments[0], /secret/);
});

test("describe, init and health answer with the contract's errors", () => {
  const definition = plugin({
    roles: ["key"], fields: (config) => [config.field], maxBatch: 8,
    configure: (config) => ({ field: config.field.trim() }), health: () => { throw new Error("unwell"); }, process() {},
  });
  const { lifecycle, processor } = exportsOf(definition, { name: "n", version: "1.2.3" });
  assert.deepEqual(lifecycle.describe('{"field":" attr:type "}'), {
    name: "n", version: "1.2.3", sdk: "weir-plugin-js 0.1.0", fields: ["attr:type"], needsPayload: false,
    roles: ["key"], maxBatch: 8, meta: [],
  });
  const thrown = (call) => { try { call(); } catch (error) { return [error.code, error.retryable]; } };
  assert.deepEqual(thrown(() => processor.process(batchOf([{ fields: [] }]))), [2, false]);
  assert.deepEqual(thrown(lifecycle.health), [2, false]);
  assert.deepEqual(thrown(() => lifecycle.describe("{")), [1, false]);
  assert.deepEqual(thrown(() => lifecycle.init({ configJson: "{}" })), [1, false]);
  lifecycle.init({ configJson: '{"field":"attr:type"}' });
  assert.deepEqual(thrown(lifecycle.health), [3, false]);
});

test("texts of any length and script survive; what is not UTF-8 is refused", () => {
  for (const text of ["", "plain", "é€😀".repeat(5000)]) {
    assert.deepEqual(Buffer.from(encode(text)), Buffer.from(text));
    assert.equal(decode(encode(text)), text);
  }
  assert.deepEqual(Buffer.from(encode("\ud800")), Buffer.from("\ufffd"));
  assert.throws(() => decode(Uint8Array.of(0xff)));
});

test("the example masks strings only", (t) => {
  const events = [{ fields: [[1, "4111111111111111"]] }, { fields: [[2, "4111"]] }, { fields: [undefined] }];
  const answers = run(maskField, events, { config: { pointer: "/card" } });
  assert.deepEqual(answers.map(({ ops }) => ops), [[[5, "/card", '"************1111"', true]], [], []]);
});
