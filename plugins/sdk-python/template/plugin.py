from weir_plugin import plugin


# The partition key: the user if the event has one, else the device.
@plugin(roles=["key"], fields=["data:/user/id", "data:/device/id"])
def process(event, patch, config):
    key = event.entity(0) or event.entity(1)
    if key:
        patch.partition_key(key)
