// Appends the custom section `weir:plugin` to a component, so that an operator reads what it is without running it.
// node section.js COMPONENT PACKAGE_JSON WORLD
import { appendFileSync, readFileSync } from "node:fs";

const [component, about, world] = process.argv.slice(2);
const { name, version } = JSON.parse(readFileSync(about, "utf8"));
const text = JSON.stringify({ name, version, sdk: "weir-plugin-js 0.1.0", contract: "0.1.0", world });

const leb = (number) => (number < 128 ? [number] : [(number % 128) + 128, ...leb(Math.floor(number / 128))]);
const vector = (bytes) => [...leb(bytes.length), ...bytes];
const body = [...vector(Buffer.from("weir:plugin")), ...Buffer.from(text)];
appendFileSync(component, Uint8Array.from([0, ...vector(body)]));
