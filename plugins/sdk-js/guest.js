// The component's entry: `build` resolves weir:about and weir:entry to the plugin's package.json and source.
import * as hostLog from "weir:plugin/log@0.1.0";
import * as metrics from "weir:plugin/metrics@0.1.0";
import { name, version } from "weir:about";
import definition from "weir:entry";
import { exportsOf, log } from "./weir-plugin.js";

// The console is WASI's, and a call of what is not there would be a trap.
globalThis.console = { ...log, log: log.info };

export const { lifecycle, processor } = exportsOf(definition, { name, version }, { log: hostLog, metrics });
