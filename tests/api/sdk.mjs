// Sends events as CloudEvents' JavaScript SDK makes them; prints each answer as a line. node sdk.mjs SDK-FOLDER URL
import { createRequire } from "node:module";

const [folder, url] = process.argv.slice(2);
const { CloudEvent, HTTP } = createRequire(`${folder}/`)("cloudevents");

const made = {
  id: "js-1", source: "/sdk/javascript", type: "sdk.made", time: "2026-11-26T09:26:53.000Z",
  subject: "plain", partitionkey: "k 1",
};
const event = new CloudEvent({ ...made, data: { n: 1, s: "€" } });
const binary = new CloudEvent({
  ...made, id: "js-2", datacontenttype: "application/octet-stream", data: new Uint8Array([0, 255]),
});

for (const message of [HTTP.binary(event), HTTP.structured(event), HTTP.structured(binary)]) {
  const answer = await fetch(url, { method: "POST", headers: message.headers, body: message.body });
  console.log(JSON.stringify({ status: answer.status, body: await answer.json() }));
}
