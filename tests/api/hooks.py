"""What the document says in words only: integers have 64 bits."""

import schemathesis


def fits(value):
    if isinstance(value, dict):
        return all(map(fits, value.values()))
    if isinstance(value, list):
        return all(map(fits, value))
    # Whole floats are written like integers.
    return isinstance(value, bool) or not isinstance(value, (int, float)) or -(2**63) <= value < 2**64


@schemathesis.hook
def filter_body(context, body):
    return fits(body)
