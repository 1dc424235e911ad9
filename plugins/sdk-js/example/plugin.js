// How do I hide all but the end of a card number? Masks one configured place of the data.
import { counter, plugin } from "weir-plugin";

const masked = counter("masked");

export default plugin({
  roles: ["enrich"],
  configure({ pointer, keep = 4 }) {
    if (!pointer?.startsWith("/")) throw new Error("`pointer` is a JSON pointer, such as /card/number");
    return { pointer, keep };
  },
  fields: ({ pointer }) => [`data:${pointer}`],
  process(event, patch, { pointer, keep }) {
    const field = event.field(0);
    if (field?.kind !== "text") return;
    const hidden = Math.max(field.text.length - keep, 0);
    patch.jsonSet(pointer, "*".repeat(hidden) + field.text.slice(hidden));
    masked.add();
  },
});
