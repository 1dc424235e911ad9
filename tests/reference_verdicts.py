"""The second opinion on what is valid: PyPI's jsonschema with its format checker.

Usage: reference_verdicts.py SCHEMA_JSON EXAMPLES_INDEX_JSON
Prints one JSON line per GitHub payload: its event, its number within the event, whether it is valid against the
event's definition, and the pointer and keyword of every error, those of the alternatives tried included.

Usage: reference_verdicts.py formats < JSON array of [format, text]
Prints a JSON array that says of each text whether the format accepts it, by draft 2020-12.
"""

import json
import sys

from jsonschema import Draft7Validator, Draft202012Validator


def leaves(error):
    """An error and, of alternatives, the errors beneath it."""
    pointer = "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in error.absolute_path)
    yield {"pointer": pointer, "keyword": error.validator}
    for inner in error.context or []:
        yield from leaves(inner)


def main(schema_path, index_path):
    schema = json.load(open(schema_path, encoding="utf-8"))
    for event in json.load(open(index_path, encoding="utf-8")):
        name = event["name"]
        definition = next(key for key in (f"{name}_event", f"{name}$event") if key in schema["definitions"])
        of_event = {"$ref": f"#/definitions/{definition}", "definitions": schema["definitions"]}
        validator = Draft7Validator(of_event, format_checker=Draft7Validator.FORMAT_CHECKER)
        for index, payload in enumerate(event["examples"]):
            errors = [place for error in validator.iter_errors(payload) for place in leaves(error)]
            print(json.dumps({"event": name, "index": index, "valid": not errors, "errors": errors}))


def formats():
    checker = Draft202012Validator.FORMAT_CHECKER
    print(json.dumps([checker.conforms(text, name) for name, text in json.load(sys.stdin)]))


if sys.argv[1:] == ["formats"]:
    formats()
else:
    main(*sys.argv[1:])
