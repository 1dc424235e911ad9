"""How do I keep test traffic out of the topic? Drops events of which one configured field is on a list."""

from weir_plugin import counter, drop, plugin

dropped = counter("dropped")


def configure(config):
    if not config["deny"]:
        raise ValueError("`deny` is empty")
    # With their kinds: 5 and "5" are two values.
    denied = {("text" if isinstance(value, str) else "integer", str(value)) for value in config["deny"]}
    return {"field": config["field"], "denied": denied, "reason": config.get("reason", "on the deny list")}


@plugin(roles=["filter"], fields=lambda config: [config["field"]], configure=configure)
def process(event, patch, config):
    field = event.field(0)
    if field and (field.kind, field.text) in config["denied"]:
        dropped.add()
        return drop(config["reason"])
