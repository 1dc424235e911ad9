/** What a plugin may do: stop events, set keys, change events. */
export type Role = "filter" | "key" | "enrich";
export type Kind = "text" | "integer" | "float" | "bool" | "null" | "array" | "object" | "bytes";
/** A field travels without a copy; text and bytes are copied. */
export type Value = Field | string | Uint8Array;

/** A plugin: what it reads, and what it makes of each event. It is pure per event: the host may run one twice. */
export interface Definition<Config> {
  roles: Role[];
  /** Selectors: `data:/json/pointer`, `attr:type`, `header:x-name`. Their places are those of `event.field`. */
  fields: string[] | ((config: Config) => string[]);
  /** Whether it needs whole payloads; far dearer than fields. */
  needsPayload?: boolean;
  /** The most events of one batch; 0 leaves it to the host. */
  maxBatch?: number;
  /** Makes of the route's config (a JSON object) what the others get; throws if it cannot be used. */
  configure?(config: any): Config;
  /** A self-test, run before this version takes traffic; throws if the plugin is not well. */
  health?(config: Config): void;
  /** Judges one event. What it throws fails that event alone. */
  process(event: Event, patch: Patch, config: Config): Verdict | undefined | void;
}

/** A plugin is its module's default export. */
export function plugin<Config = any>(definition: Definition<Config>): Readonly<Definition<Config>>;

/** What becomes of an event. Reasons are public and hold no values of the event; 256 bytes of them are kept. */
export interface Verdict { readonly action: number; readonly reason: string }
/** It goes on, patched or not; returning nothing says the same. */
export const pass: Verdict;
/** It is not stored, and that is fine. */
export function drop(reason?: string): Verdict;
/** It is not stored, by the client's fault. */
export function refuse(reason?: string): Verdict;
/** It is kept aside. */
export function deadLetter(reason?: string): Verdict;
/** The plugin cannot judge it; the route says what happens then. */
export function fail(reason?: string): Verdict;

export interface Event {
  /** The field at this place of `fields`; undefined if the event lacks it. */
  field(index: number): Field | undefined;
  /** The same, if it can name an entity: what keys are made of. */
  entity(index: number): Field | undefined;
  /** All declared fields, in order. */
  fields(): (Field | undefined)[];
  /** The original bytes; empty unless the plugin has `needsPayload`. */
  readonly payload: Uint8Array;
  /** When the gateway received it, in nanoseconds since 1970; exact to a quarter of a microsecond. */
  readonly timeNs: number;
}

/** One value of an event; decoded when asked for. */
export interface Field {
  /** What it is: `5` and `"5"` have the same text and different kinds. */
  readonly kind: Kind;
  readonly bytes: Uint8Array;
  /** A string's characters, or the source text of anything else. */
  readonly text: string;
  /** What it means: 5 or "5", an object, null. An integer beyond 2^53 loses digits; `text` has them all. */
  readonly value: any;
  /** Whether it can name an entity, as a key does: a string that is not empty, or an integer. */
  readonly namesEntity: boolean;
}

/** The changes to one event, applied in the order given if the verdict is to pass. */
export interface Patch {
  /** The partition key: not empty, at most 512 bytes. The last one wins. */
  partitionKey(key: Value): void;
  /** A key that finds this event in lookups by `kind`: `[a-z0-9_-]`, at most 32 bytes; the key as above. */
  lookupKey(kind: string, key: Value): void;
  /** A record header in lower case. `weir-*`, `ce_*` and `content-type` are the gateway's own. */
  setHeader(name: string, value: Value): void;
  /** Takes a header away that an earlier plugin set. */
  removeHeader(name: string): void;
  /** Sets one place of the data, by JSON pointer, to any JSON value or a field. */
  jsonSet(pointer: string, value: any): void;
  /** Removes one place of the data, by JSON pointer. */
  jsonRemove(pointer: string): void;
  /** The data as a whole. */
  replacePayload(payload: Value): void;
  /** Another topic, out of those that the route allows. */
  setTopic(topic: Value): void;
}

/** Lines in the gateway's log, without values of events; in native tests they go to standard error. */
export const log: {
  enabled(level: "trace" | "debug" | "info" | "warn" | "error"): boolean;
  debug(message: string): void;
  info(message: string): void;
  warn(message: string): void;
  error(message: string): void;
};

/** A counter in the gateway's metrics: `[a-z][a-z0-9_]*`. */
export function counter(name: string): { add(delta?: number): void };
/** A histogram in the gateway's metrics. */
export function histogram(name: string): { observe(value: number): void };

/** The text of UTF-8 bytes, such as a payload's; throws if they are not. QuickJS has no TextDecoder. */
export function decode(bytes: Uint8Array): string;
export function encode(text: string): Uint8Array;

/** The contract's exports, for tests that run a plugin as the gateway does; `guest.js` is what calls it. */
export function exportsOf(definition: Definition<any>, about: { name: string; version: string }, host?: object): any;
