import { plugin } from "weir-plugin";

// The partition key: the user if the event has one, else the device.
export default plugin({
  roles: ["key"],
  fields: ["data:/user/id", "data:/device/id"],
  process(event, patch) {
    const key = event.entity(0) ?? event.entity(1);
    if (key) patch.partitionKey(key);
  },
});
