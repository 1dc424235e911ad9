"""Reads records as CloudEvents' Python SDK does; prints each event as a line. sdk_kafka.py < records (JSON, a line each)"""

import base64
import json
import sys

from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka, from_structured
from cloudevents.core.formats.json import JSONFormat

for line in sys.stdin:
    record = json.loads(line)
    headers = {name: value.encode() for name, value in record["headers"]}
    message = KafkaMessage(headers=headers, key=None, value=base64.b64decode(record["value"]))
    event, same = from_kafka(message, JSONFormat()), from_structured(message, JSONFormat())
    data = event.get_data()
    assert (event.get_attributes(), data) == (same.get_attributes(), same.get_data())
    attributes = {name: str(value) for name, value in event.get_attributes().items()}
    print(json.dumps({"attributes": attributes, "data": list(data) if isinstance(data, bytes) else data}))
