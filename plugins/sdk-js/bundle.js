// How `build` brings SDK and plugin together: the bundler's config.
import { existsSync } from "node:fs";
import { join } from "node:path";

const { WEIR_SDK: sdk, WEIR_PLUGIN: plugin } = process.env;
const source = ["plugin.ts", "plugin.js"].map((name) => join(plugin, name)).find(existsSync);

export default {
  input: join(sdk, "guest.js"),
  platform: "neutral",
  external: [/^weir:plugin\//],
  resolve: {
    mainFields: ["module", "main"],
    alias: {
      "weir-plugin": join(sdk, "weir-plugin.js"),
      "weir:about": join(plugin, "package.json"),
      "weir:entry": source,
    },
  },
};
