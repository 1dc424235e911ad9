// Weir plugins in JavaScript: what an author imports (weir-plugin.d.ts says it in full), and the contract's
// exports made of it. The numbers (kinds, actions, opcodes, error codes) are those of wit/README.md.

const ABSENT = 0xffffffff;
/** The value span points into the batch's arena. */
const IN_BATCH = 0x80000000 | 0;
const KINDS = [, "text", "integer", "float", "bool", "null", "array", "object"];
const BAD_CONFIG = 1, NOT_BOUND = 2, UNHEALTHY = 3, OTHER = 4;

/** Checked while the component is built, so that a mistake fails the build. */
export function plugin(definition) {
  const { roles, fields, process } = definition;
  if (!Array.isArray(roles)) throw new TypeError("`roles` is a list of filter, key, enrich");
  if (!Array.isArray(fields) && typeof fields !== "function") throw new TypeError("`fields` is a list or a function");
  if (typeof process !== "function") throw new TypeError("`process` is a function");
  return Object.freeze({ ...definition });
}

class Verdict {
  constructor(action, reason) {
    this.action = action;
    this.reason = String(reason);
  }
}

export const pass = new Verdict(0, "");
export const drop = (reason = "") => new Verdict(1, reason);
export const refuse = (reason = "") => new Verdict(2, reason);
export const deadLetter = (reason = "") => new Verdict(3, reason);
export const fail = (reason = "") => new Verdict(4, reason);

export class Event {
  #batch;
  #index;

  constructor(batch, index) {
    this.#batch = batch;
    this.#index = index;
  }

  field(index) {
    return index >= 0 ? this.#column(index + 1) : undefined;
  }

  entity(index) {
    const field = this.field(index);
    return field?.namesEntity ? field : undefined;
  }

  fields() {
    return Array.from({ length: this.#batch.stride - 1 }, (_, index) => this.field(index));
  }

  get payload() { return this.#column(0)?.bytes ?? new Uint8Array(0); }
  get timeNs() { return Number(this.#batch.times[this.#index]); }

  #column(column) {
    const { arena, spans, kinds, stride } = this.#batch;
    if (!(column < stride)) return undefined;
    const span = this.#index * stride + column;
    // Unsigned: QuickJS hands over a u32 from 2^31 on as a negative number.
    const offset = spans[2 * span] >>> 0;
    return offset === ABSENT ? undefined : new Field(arena, offset, spans[2 * span + 1] >>> 0, kinds[span]);
  }
}

export class Field {
  #arena;
  #span;

  constructor(arena, offset, length, kind) {
    this.#arena = arena;
    this.#span = [offset, length];
    this.kind = KINDS[kind] ?? "bytes";
  }

  get bytes() {
    const [offset, length] = this.#span;
    return this.#arena.subarray(offset, offset + length);
  }

  get text() { return decode(this.bytes); }

  get value() {
    if (this.kind === "bytes") return this.bytes;
    return this.kind === "text" ? this.text : JSON.parse(this.text);
  }

  get namesEntity() { return this.kind === "integer" || (this.kind === "text" && this.#span[1] > 0); }

  toJSON() { return this.value; }

  /** Undefined for a field that was kept from another batch. */
  spanIn(arena) { return this.#arena === arena ? this.#span : undefined; }
}

/** The changes to a batch's events, one event after the other: rows over an arena of its own. */
export class Patch {
  #event = 0;
  #rows = [];
  #kept = 0;
  #arena = [];
  #names = new Map();
  #batchArena;

  constructor(batchArena) {
    this.#batchArena = batchArena;
  }

  partitionKey(key) { this.#op(1, "", this.#value(key)); }
  lookupKey(kind, key) { this.#op(2, kind, this.#value(key)); }
  setHeader(name, value) { this.#op(3, name, this.#value(value)); }
  removeHeader(name) { this.#op(4, name); }
  jsonSet(pointer, value) {
    // Any field but a string's is JSON text as it is.
    const isSource = value instanceof Field && value.kind !== "text";
    this.#op(5, pointer, this.#value(isSource ? value : JSON.stringify(value)));
  }

  jsonRemove(pointer) { this.#op(6, pointer); }
  replacePayload(payload) { this.#op(7, "", this.#value(payload)); }
  setTopic(topic) { this.#op(8, "", this.#value(topic)); }

  /** Ends an event. One that does not pass keeps nothing but its reason. */
  end(verdict) {
    if (verdict !== pass) {
      this.#rows.length = this.#kept;
      this.#op(9, "", this.#value(verdict.reason));
    }
    this.#event += 1;
    this.#kept = this.#rows.length;
    return verdict.action;
  }

  output(actions) {
    return { arena: Uint8Array.from(this.#arena), actions: Uint8Array.from(actions), ops: this.#rows.flat() };
  }

  #op(opcode, name, [flag, offset, length] = [0, 0, 0]) {
    // A batch repeats the same few names.
    if (!this.#names.has(name)) this.#names.set(name, this.#store(encode(name)));
    // As a signed number: of an unsigned one from 2^31 on, QuickJS makes 2^31 - 1.
    this.#rows.push([this.#event, opcode | flag, ...this.#names.get(name), offset, length]);
  }

  #value(value) {
    const span = value instanceof Field ? value.spanIn(this.#batchArena) : undefined;
    if (span) return [IN_BATCH, ...span];
    if (value instanceof Field) return [0, ...this.#store(value.bytes)];
    if (value instanceof Uint8Array) return [0, ...this.#store(value)];
    if (typeof value === "string") return [0, ...this.#store(encode(value))];
    throw new TypeError("a value is a string, bytes or a field");
  }

  #store(bytes) {
    if (bytes.length === 0) return [0, 0];
    const offset = this.#arena.length;
    for (const byte of bytes) this.#arena.push(byte);
    return [offset, bytes.length];
  }
}

function judge(definition, config, batch) {
  const patch = new Patch(batch.arena);
  const judged = (_, index) => patch.end(verdictOf(definition, new Event(batch, index), patch, config));
  return patch.output(Array.from(batch.times, judged));
}

function verdictOf(definition, event, patch, config) {
  try {
    const verdict = definition.process(event, patch, config) ?? pass;
    if (!(verdict instanceof Verdict)) throw new TypeError("`process` returns a verdict or nothing");
    return verdict;
  } catch (error) {
    // Its name and place only: a message may quote the event.
    const name = error instanceof Error ? error.name : typeof error;
    const place = String(error?.stack).split("\n").find((line) => line.trimStart().startsWith("at "));
    log.error(`process threw ${name} ${place?.trim() ?? ""}`);
    return fail(`the plugin threw ${name}`);
  }
}

let host = {
  log: { enabled: () => true, write: (level, message) => console.error(`${level}: ${message}`) },
  metrics: { counter: () => 0, histogram: () => 0, add() {}, observe() {} },
};

const writes = (level) => (message) => host.log.write(level, String(message));
const [debug, info, warn, error] = ["debug", "info", "warn", "error"].map(writes);
export const log = { enabled: (level) => host.log.enabled(level), debug, info, warn, error };

// Ids are asked for late: there is no host yet while the component is built.
export function counter(name) {
  let id;
  return { add: (delta = 1) => host.metrics.add((id ??= host.metrics.counter(name)), delta) };
}

export function histogram(name) {
  let id;
  return { observe: (value) => host.metrics.observe((id ??= host.metrics.histogram(name)), value) };
}

// QuickJS has neither TextDecoder nor TextEncoder.
export function decode(bytes) {
  let text = "";
  for (let start = 0; start < bytes.length; start += 4096) {
    text += String.fromCharCode.apply(null, bytes.subarray(start, start + 4096));
  }
  return /[\x80-\xff]/.test(text) ? decodeURIComponent(escape(text)) : text;
}

export function encode(text) {
  const latin = unescape(encodeURIComponent(text.toWellFormed()));
  return Uint8Array.from({ length: latin.length }, (_, index) => latin.charCodeAt(index));
}

/** The contract's exports. Whatever they throw is an error of the contract: on any other, QuickJS traps. */
export function exportsOf(definition, about, boundHost = host) {
  host = boundHost;
  let bound;
  const or = (code, call) => {
    try {
      return call();
    } catch (error) {
      throw { code: error?.code ?? code, message: String(error?.message ?? error), retryable: false };
    }
  };
  const configured = (json) => (definition.configure ?? ((config) => config))(JSON.parse(json));
  const config = () => {
    if (!bound) throw { code: NOT_BOUND, message: "called before init" };
    return bound.config;
  };
  const describe = (configJson) => {
    const { roles, fields, needsPayload = false, maxBatch = 0 } = definition;
    const config = configured(configJson);
    const selectors = typeof fields === "function" ? fields(config) : fields;
    return { ...about, sdk: "weir-plugin-js 0.1.0", fields: selectors, needsPayload, roles, maxBatch, meta: [] };
  };
  return {
    lifecycle: {
      describe: (configJson) => or(BAD_CONFIG, () => describe(configJson)),
      init: ({ configJson }) => or(BAD_CONFIG, () => void (bound = { config: configured(configJson) })),
      health: () => or(UNHEALTHY, () => void definition.health?.(config())),
    },
    processor: { process: (batch) => or(OTHER, () => judge(definition, config(), batch)) },
  };
}
