#!/usr/bin/env python3
"""Prints golden.txt: what an independent implementation makes of every message, to compare ours with.

    python3 -m pip install kio==0.6.5 && python3 make_golden.py > golden.txt

kio generates its classes from Kafka's own definitions. Every message is written twice in each version: `full` fills all fields by a
rule that golden_test.cpp follows as well, counting the values in wire order, tagged fields last; `least` has zeros, empty texts and
arrays, and null where null is allowed.
"""

import dataclasses
import datetime
import importlib
import io
import pathlib
import sys
import types
import typing

from kio.serial import entity_writer
from kio.schema.errors import ErrorCode

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "wire"))
from generate import read_apis  # noqa: E402  only for names and versions: the layouts are kio's

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


class Filler:
    def __init__(self, full):
        self.full = full
        self.count = 0

    def value(self, kind):
        self.count += 1
        n = self.count
        numbers = {"int8": n % 100, "int16": n % 90, "int32": 100000 + n, "int64": 10**12 + n}
        match kind:
            case "bool":
                return self.full and n % 2 == 1
            case "string":
                return f"text-{n}" if self.full else ""
            case "records":
                return bytes((n + i) % 256 for i in range(20)) if self.full else b""
            case "error_code":
                return ErrorCode(numbers["int16"] if self.full else 0)
            case "timedelta_i32":
                return datetime.timedelta(milliseconds=numbers["int32"] if self.full else 0)
            case "datetime_i64":
                return EPOCH + datetime.timedelta(milliseconds=numbers["int64"] if self.full else 0)
        return numbers[kind] if self.full else 0

    def field(self, annotation, kind):
        options = [option for option in typing.get_args(annotation) if option is not types.NoneType]
        if isinstance(annotation, types.UnionType):
            if not self.full and kind != "records" and kind != "datetime_i64":
                return None
            return self.field(options[0], kind)
        if typing.get_origin(annotation) is tuple:
            return tuple(self.field(options[0], kind) for _ in range(2)) if self.full else ()
        if dataclasses.is_dataclass(annotation):
            return self.entity(annotation)
        return self.value(kind)

    def entity(self, entity):
        hints = typing.get_type_hints(entity)
        values = {}
        fields = dataclasses.fields(entity)
        for item in [f for f in fields if "tag" not in f.metadata] + [f for f in fields if "tag" in f.metadata]:
            if self.full or "tag" not in item.metadata:
                values[item.name] = self.field(hints[item.name], item.metadata.get("kafka_type"))
        return entity(**values)


def main():
    print("# Made by make_golden.py with kio: message, version, content, bytes.")
    for api in read_apis():
        folder = "".join("_" + c.lower() if c.isupper() else c for c in api.name).lstrip("_")
        for direction in ("Request", "Response"):
            for version in range(api.first, api.last + 1):
                name = api.name + direction
                try:
                    module = importlib.import_module(f"kio.schema.{folder}.v{version}.{direction.lower()}")
                except ModuleNotFoundError:
                    print(f"kio has no {name} {version}", file=sys.stderr)
                    continue
                for content in ("full", "least"):
                    out = io.BytesIO()
                    entity = getattr(module, name)
                    entity_writer(entity)(out, Filler(content == "full").entity(entity))
                    print(name, version, content, out.getvalue().hex() or "-")


main()
