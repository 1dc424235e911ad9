"""Sends events as CloudEvents' Python SDK makes them; prints each answer as a line. sdk.py URL"""

import json
import sys
import urllib.request
from datetime import datetime, timezone

from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent

attributes = {
    "id": "py-1",
    "source": "/sdk/python",
    "type": "sdk.made",
    "specversion": "1.0",
    "time": datetime(2026, 11, 26, 9, 26, 53, tzinfo=timezone.utc),
    "subject": "Euro € \"quoted\" 100%",
    "partitionkey": "k 1",
}
json_event = CloudEvent({**attributes, "datacontenttype": "application/json"}, {"n": 9007199254740993, "s": "€"})
bytes_event = CloudEvent({**attributes, "id": "py-2", "datacontenttype": "application/octet-stream"}, b"\x00\xff")

for message in [
    to_binary_event(json_event),
    to_structured_event(json_event),
    to_binary_event(bytes_event),
    to_structured_event(bytes_event),
]:
    request = urllib.request.Request(sys.argv[1], data=message.body, headers=message.headers, method="POST")
    with urllib.request.urlopen(request) as answer:
        print(json.dumps({"status": answer.status, "body": json.load(answer)}))
