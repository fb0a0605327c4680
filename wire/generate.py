#!/usr/bin/env python3
"""Makes the C++ of the Kafka protocol's messages, and the table in docs/protocol.md, from the files in schema/.

    generate.py --out FOLDER    writes streambus/wire/{errors,messages,walk}.hpp and messages.cpp into FOLDER
    generate.py --docs          prints the generated part of docs/protocol.md
    generate.py --check-docs F  exits 1 when the generated part of file F is not what --docs prints

A schema file describes one API: a request and its response. Indentation (two blanks) nests fields.

    # One line or more on what the API does; they become the comment of the C++ type.
    api Produce 0             name and key
    versions 0-9              versions whose layout is described; all of them are advertised, unless `served no`
    served 3-9                those that are really answered; default: all of them
    flexible 9                first version with compact lengths and tagged fields (KIP-482)

    request
      name  type  [versions] [null [versions]] [tag N] [= default]   # comment

Types: bool int8 int16 int32 int64 string records, a structure (a capitalised name, its fields indented below) and arrays []type.
Versions: `3+`, `0-3` or `7`; default: all of the message, or of the enclosing structure. `null` allows null, in the versions
given or in all; `tag N` makes a tagged field, which is written only when it differs from its default.
"""

import argparse
import pathlib
import re
import sys
from dataclasses import dataclass, field

HERE = pathlib.Path(__file__).resolve().parent
SCHEMA = HERE / "schema"
BEGIN, END = "<!-- begin generated: wire/generate.py --docs -->", "<!-- end generated -->"

INTEGERS = {"int8": 1, "int16": 2, "int32": 4, "int64": 8}
CPP = {"bool": "bool", "string": "std::string_view"} | {name: f"std::{name}_t" for name in INTEGERS}


class SchemaError(Exception):
    pass


@dataclass
class Field:
    name: str
    type: str  # without []
    array: bool
    first: int
    last: int
    null: tuple | None
    tag: int | None
    default: str | None
    comment: str
    fields: list = field(default_factory=list)  # of a structure

    @property
    def is_struct(self):
        return self.type[0].isupper()


@dataclass
class Api:
    name: str
    key: int
    comment: str
    first: int = 0
    last: int = 0
    served: tuple | None = None
    flexible: int = 32767
    request: list = field(default_factory=list)
    response: list = field(default_factory=list)

    @property
    def snake(self):
        return re.sub(r"(?<!^)(?=[A-Z])", "_", self.name).lower()


# Reading


def versions(text, last):
    if match := re.fullmatch(r"(\d+)\+", text):
        return int(match[1]), last
    if match := re.fullmatch(r"(\d+)(?:-(\d+))?", text):
        return int(match[1]), int(match[2] or match[1])
    return None


def parse_field(text, comment, first, last):
    """One field line, its enclosing structure living in versions first to last."""
    default = None
    if "=" in text:
        text, default = (part.strip() for part in text.split("=", 1))
    words = text.split()
    if len(words) < 2:
        raise SchemaError("expected: name type ...")
    name, kind = words[0], words[1]
    array = kind.startswith("[]")
    kind = kind.removeprefix("[]")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise SchemaError(f"'{name}': expected a field name in snake_case")
    if kind not in CPP and kind != "records" and not re.fullmatch(r"[A-Z][A-Za-z]*", kind):
        raise SchemaError(f"'{kind}': expected one of {' '.join(CPP)} records, or a capitalised structure name")
    low, high, null, tag = first, last, None, None
    index = 2
    if index < len(words) and (found := versions(words[index], last)):
        low, high = found
        index += 1
    while index < len(words):
        word = words[index]
        argument = words[index + 1] if index + 1 < len(words) else ""
        if word == "null":
            null = versions(argument, last)
            index += 2 if null else 1
            null = null or (low, high)
        elif word == "tag" and argument.isdigit():
            tag = int(argument)
            index += 2
        else:
            raise SchemaError(f"'{word}': expected versions, null or tag")
    if not first <= low <= high <= last:
        raise SchemaError(f"{name}: versions {low}-{high} are not within {first}-{last}")
    return Field(name, kind, array, low, high, null, tag, default, comment)


def check(api, fields, name, structures):
    """Rules that the generated code relies on."""
    tags = [f.tag for f in fields if f.tag is not None]
    if tags != sorted(set(tags)):
        raise SchemaError(f"{name}: tags must ascend")
    for f in fields:
        where = f"{name}.{f.name}"
        if f.is_struct != bool(f.fields):
            raise SchemaError(f"{where}: " + ("structure without fields" if f.is_struct else "fields below something that is no structure"))
        if f.null and not f.array and f.type != "string":
            raise SchemaError(f"{where}: only strings and arrays can be null")
        if f.type == "records" and (f.array or f.tag is not None):
            raise SchemaError(f"{where}: records stand alone and have no tag")
        if f.tag is not None and f.first < api.flexible:
            raise SchemaError(f"{where}: tags start with the flexible versions, at {api.flexible}")
        if f.tag is not None and f.is_struct and not f.array and any(g.array or g.is_struct for g in f.fields):
            raise SchemaError(f"{where}: a tagged structure holds plain values only")
        if f.default is not None and (f.array or not (f.type in INTEGERS or f.type == "bool")):
            raise SchemaError(f"{where}: only integers and bool take a default")
        if f.is_struct:
            if f.type in structures:
                raise SchemaError(f"{where}: structure {f.type} is defined twice")
            structures.add(f.type)
            check(api, f.fields, f.type, structures)


def parse_api(path):
    api, comment, stack, number = None, [], None, 0
    try:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            text, _, remark = (part.strip() for part in line.partition("#"))
            if not text:
                if api is None and remark:
                    comment.append(remark)
                continue
            depth = len(line) - len(line.lstrip())
            word, *rest = text.split()
            if depth == 0 and word == "api":
                api = Api(rest[0], int(rest[1]), " ".join(comment))
            elif api is None:
                raise SchemaError("expected: api NAME KEY")
            elif depth == 0 and word == "versions":
                api.first, api.last = versions(rest[0], 0)
                api.served = (api.first, api.last)
            elif depth == 0 and word == "served":
                api.served = None if rest == ["no"] else versions(rest[0], api.last)
            elif depth == 0 and word == "flexible":
                api.flexible = int(rest[0])
            elif depth == 0 and word in ("request", "response"):
                stack = [(getattr(api, word), api.first, api.last)]
            elif stack is None or depth % 2 or not 0 < depth // 2 <= len(stack):
                raise SchemaError(f"'{text}': unexpected here")
            else:
                del stack[depth // 2 :]
                fields, first, last = stack[-1]
                fields.append(parse_field(text, remark, first, last))
                stack.append((fields[-1].fields, fields[-1].first, fields[-1].last))
        check(api, api.request, api.name + "Request", set())
        check(api, api.response, api.name + "Response", set())
    except SchemaError as error:
        sys.exit(f"{path}:{number}: {error}")
    return api


def read_apis():
    apis = [parse_api(path) for path in sorted(SCHEMA.glob("*.txt")) if path.name != "errors.txt"]
    return sorted(apis, key=lambda api: api.key)


def read_errors():
    lines = [line.partition("#")[0].split() for line in (SCHEMA / "errors.txt").read_text(encoding="utf-8").splitlines()]
    return [(int(line[0]), line[1], "retriable" in line[2:]) for line in lines if len(line) > 1]


# C++


def cpp_type(f, direction):
    if f.type == "records":
        return "MutableBytes" if direction == "Request" else "Records"
    base = CPP.get(f.type, f.type)
    if f.array:
        base = f"std::span<{base}>"
    return f"std::optional<{base}>" if f.null else base


def initialiser(f):
    if f.array or f.null or f.is_struct or f.type in ("string", "records"):
        return "{}"  # so that designated initialisers may leave it out
    if f.type == "bool":
        return f" = {f.default or 'false'}"
    value = int(f.default or 0)
    limit = 1 << (8 * INTEGERS[f.type] - 1)
    return f" = std::numeric_limits<{CPP[f.type]}>::min()" if value == -limit else f" = {value}"


def member_lines(fields, direction, indent):
    return [f"{indent}{cpp_type(f, direction)} {f.name}{initialiser(f)};" + (f"  ///< {f.comment}" if f.comment else "") for f in fields]


def structure_lines(fields, direction):
    """The structures below a message, inner ones first."""
    lines = []
    for f in fields:
        if f.is_struct:
            lines += structure_lines(f.fields, direction) + [f"  struct {f.type} {{"] + member_lines(f.fields, direction, "    ")
            if f.tag is not None and not f.array:
                lines += ["", f"    bool operator==(const {f.type}&) const noexcept = default;"]
            lines += ["  };", ""]
    return lines


def wrap(text, prefix):
    lines, line = [], prefix
    for word in text.split():
        if len(line) + 1 + len(word) > 128:
            lines.append(line)
            line = prefix
        line += " " + word
    return lines + [line]


def message_lines(api, direction):
    fields = getattr(api, direction.lower())
    name = api.name + direction
    lines = wrap(api.comment, "///") if direction == "Request" else [f"/// The answer to {api.name}Request."]
    lines += [f"struct {name} {{",
              f"  static constexpr ApiKey kKey = ApiKey::{api.snake};",
              f"  static constexpr std::int16_t kMinVersion = {api.first};",
              f"  static constexpr std::int16_t kMaxVersion = {api.last};",
              f"  static constexpr std::int16_t kFlexibleFrom = {api.flexible};"]
    if direction == "Request":
        lines.append(f"  using Response = {api.name}Response;")
    return lines + [""] + structure_lines(fields, direction) + member_lines(fields, direction, "  ") + ["};", ""]


def min_bytes(fields, version, flexible):
    total = 1 if flexible else 0  # the count of tagged fields
    for f in fields:
        if f.tag is not None or not f.first <= version <= f.last:
            continue
        if f.array or f.type == "records":
            total += 1 if flexible else 4
        elif f.is_struct:
            total += min_bytes(f.fields, version, flexible)
        else:
            total += {"bool": 1, "string": 1 if flexible else 2}.get(f.type) or INTEGERS[f.type]
    return total


def condition(low, high, first, last):
    """Of the walker's version, which is within first to last; empty when always true."""
    parts = [f"w.version() >= {low}"] * (low > first) + [f"w.version() <= {high}"] * (high < last)
    return " && ".join(parts)


def walk_lines(fields, first, last, api, message):
    lines = []
    tagged = [f for f in fields if f.tag is not None]
    for f in fields:
        if f.tag is not None:
            continue
        when = condition(f.first, f.last, first, last)
        null = f", {condition(*f.null, f.first, f.last) or 'true'}" if f.null else ""
        lines.append((f"if ({when}) " if when else "") + f"w.field(m.{f.name}{null});")
    if not tagged:
        return lines + ["w.no_tags();"]
    lines.append("w.tags([&](auto& tags) {")
    for f in tagged:
        when = condition(f.first, f.last, first, last)
        if f.null:
            present, null = f"m.{f.name}.has_value()", f", {condition(*f.null, f.first, f.last) or 'true'}"
        elif f.array or f.type == "string":
            present, null = f"!m.{f.name}.empty()", ""
        elif f.is_struct:
            present, null = f"m.{f.name} != {message}::{f.type}{{}}", ""
        else:
            present, null = f"m.{f.name} != {initialiser(f).removeprefix(' = ')}", ""
        lines.append("  " + (f"if ({when}) " if when else "") + f"tags.field({f.tag}, {present}, m.{f.name}{null});")
    return lines + ["});"]


def layout_lines(api, name, fields, first, last):
    lines = []
    for f in fields:
        if f.is_struct:
            lines += layout_lines(api, f"{name.split('::')[0]}::{f.type}", f.fields, f.first, f.last)
    sizes = [min_bytes(fields, v, v >= api.flexible) if first <= v <= last else 0 for v in range(api.first, api.last + 1)]
    if "::" in name and 0 in sizes[first - api.first : last - api.first + 1]:
        raise SchemaError(f"{name}: a structure without fields in some version")
    lines += ["template <>", f"struct Layout<{name}> {{",
              f"  static constexpr std::array<std::uint16_t, {len(sizes)}> kMinBytes{{{', '.join(map(str, sizes))}}};", "",
              "  template <class W, class M>", "  static void walk(W& w, M& m) noexcept {"]
    lines += ["    " + line for line in walk_lines(fields, first, last, api, name.split("::")[0])]
    return lines + ["  }", "};", ""]


def banner(what):
    return [f"// {what}", "// Generated by wire/generate.py from wire/schema/: do not edit.", ""]


def errors_hpp(errors):
    lines = ["#pragma once"] + banner("Kafka's error codes.")
    lines += ["#include <cstdint>", "#include <string_view>", "", "namespace streambus::wire {", "", "enum class WireError : std::int16_t {"]
    lines += [f"  {name} = {code}," for code, name, _ in errors]
    lines += ["};", "", '/// Kafka\'s name of a code ("OFFSET_OUT_OF_RANGE"); "UNKNOWN" for one that is not listed.',
              "[[nodiscard]] constexpr std::string_view name_of(WireError error) noexcept {", "  switch (error) {"]
    lines += [f'    case WireError::{name}: return "{name.upper()}";' for _, name, _ in errors]
    lines += ["  }", '  return "UNKNOWN";', "}", "", "/// True when the same request may succeed later, perhaps after fresh metadata.",
              "[[nodiscard]] constexpr bool is_retriable(WireError error) noexcept {", "  switch (error) {"]
    lines += [f"    case WireError::{name}:" for _, name, retriable in errors if retriable]
    return lines + ["      return true;", "    default: return false;", "  }", "}", "", "}  // namespace streambus::wire"]


def messages_hpp(apis):
    lines = ["#pragma once"] + banner("The messages of the Kafka protocol, one structure over all versions of each.")
    lines += ["// A decoded message holds views into its frame and arrays in the arena. A field that a version does not have keeps its default",
              "// when decoded and is left out when encoded. Batches in a request are writable views into the frame: the broker stamps them in",
              "// place, so the frame behind a ByteReader must be writable by whoever does that.", ""]
    lines += [f"#include <{name}>" for name in ("array", "cstdint", "limits", "optional", "span", "string_view")]
    lines += ["", '#include "streambus/wire/codec.hpp"', '#include "streambus/wire/errors.hpp"', "", "namespace streambus::wire {", ""]
    lines += ["enum class ApiKey : std::int16_t {"] + [f"  {api.snake} = {api.key}," for api in apis] + ["};", ""]
    lines += ["/// What is known of an API.", "struct ApiInfo {", "  ApiKey key;", "  std::string_view name;",
              "  std::int16_t min_known;      ///< versions whose layout is known: min_known to max", "  std::int16_t max;",
              "  std::int16_t flexible_from;  ///< first version with compact lengths and tagged fields",
              "  bool served;                 ///< false: known to the client only, not advertised by the broker",
              "  std::int16_t min_advertised; ///< what ApiVersions says; lower than min_served where clients need to read it so",
              "  std::int16_t min_served;     ///< older requests are answered with an error", "};", "",
              "/// All APIs, by key.", f"inline constexpr std::array<ApiInfo, {len(apis)}> kApis{{{{"]
    for api in apis:
        served = "true" if api.served else "false"
        low = api.served[0] if api.served else api.first
        lines.append(f'    {{ApiKey::{api.snake}, "{api.name}", {api.first}, {api.last}, {api.flexible}, {served}, {api.first}, {low}}},')
    lines += ["}};", "", "/// Null for a key that is not in kApis.",
              "[[nodiscard]] constexpr const ApiInfo* find_api(std::int16_t key) noexcept {", "  for (const ApiInfo& api : kApis) {",
              "    if (static_cast<std::int16_t>(api.key) == key) return &api;", "  }", "  return nullptr;", "}", "",
              "/// Whether the version of a request has compact lengths and tagged fields; false for unknown keys.",
              "[[nodiscard]] constexpr bool is_flexible(std::int16_t key, std::int16_t version) noexcept {",
              "  const ApiInfo* const api = find_api(key);", "  return api != nullptr && version >= api->flexible_from;", "}", ""]
    for api in apis:
        lines += [f"struct {api.name}Response;"]
    lines += [""]
    for api in apis:
        lines += message_lines(api, "Request") + message_lines(api, "Response")
    lines += ["/// Reads a message. False where it is malformed, the version has no layout, or the arena has no room; `out` is then",
              "/// unspecified. Bytes may be left in `in`: the caller decides what they mean. Views in `out` live as long as the frame and the",
              "/// arena's content. Never allocates more than the frame can hold elements.",
              "template <class M>", "[[nodiscard]] bool decode(ByteReader& in, std::int16_t version, Arena& arena, M& out) noexcept;", "",
              "/// What encode() will take; zeros for a version that has no layout.",
              "template <class M>", "[[nodiscard]] EncodedSize encoded_size(const M& message, std::int16_t version) noexcept;", "",
              "/// Appends a message; `size` is its encoded_size(). Errors: see Encoder::ok().",
              "template <class M>", "void encode(const M& message, std::int16_t version, const EncodedSize& size, Encoder& out) noexcept;",
              "template <class M>", "void encode(const M& message, std::int16_t version, Encoder& out) noexcept;", ""]
    for api in apis:
        for direction in ("Request", "Response"):
            lines += ["extern " + line for line in instantiations(api.name + direction)]
    return lines + ["", "}  // namespace streambus::wire"]


def instantiations(m):
    return [f"template bool decode<{m}>(ByteReader&, std::int16_t, Arena&, {m}&) noexcept;",
            f"template EncodedSize encoded_size<{m}>(const {m}&, std::int16_t) noexcept;",
            f"template void encode<{m}>(const {m}&, std::int16_t, const EncodedSize&, Encoder&) noexcept;",
            f"template void encode<{m}>(const {m}&, std::int16_t, Encoder&) noexcept;"]


def walk_hpp(apis):
    lines = ["#pragma once"] + banner("The fields of every structure of every message, in wire order, by version.")
    lines += ["// Layout<T>::walk(w, m) calls, for the fields that w.version() has: w.field(m.x) and, for what can be null in some version,",
              "// w.field(m.x, nullable); at the end w.no_tags() or w.tags(fn), where fn(t) calls t.field(tag, differs_from_default, field...).",
              "// kMinBytes: fewest bytes that the structure takes, by version from the message's kMinVersion on.", "",
              "#include <tuple>", "", '#include "streambus/wire/messages.hpp"', "", "namespace streambus::wire {", "",
              "template <class T>", "struct Layout;", ""]
    for api in apis:
        for direction in ("Request", "Response"):
            lines += layout_lines(api, api.name + direction, getattr(api, direction.lower()), api.first, api.last)
    names = ", ".join(api.name + direction for api in apis for direction in ("Request", "Response"))
    return lines + ["/// Every message, requests and responses.", f"using AllMessages = std::tuple<{names}>;", "", "}  // namespace streambus::wire"]


def messages_cpp(apis):
    lines = banner("The codecs of all messages.") + ['#include "walkers.hpp"', "", "namespace streambus::wire {", ""]
    for api in apis:
        for direction in ("Request", "Response"):
            lines += instantiations(api.name + direction)
    return lines + ["", "}  // namespace streambus::wire"]


# Documents


def version_text(pair):
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]}-{pair[1]}"


def docs_lines(apis):
    lines = ["| key | API | advertised | answered | flexible from | what it does |", "|---|---|---|---|---|---|"]
    for api in apis:
        if api.served:
            what = api.comment.split(". ")[0].rstrip(".")
            lines.append(f"| {api.key} | {api.name} | {version_text((api.first, api.last))} | {version_text(api.served)} | {api.flexible} | {what} |")
    others = [f"{api.name} {version_text((api.first, api.last))}" for api in apis if not api.served]
    if others:
        lines += ["", f"Known to the client library but not advertised by the broker: {', '.join(others)}."]
    return lines


def check_docs(path, expected):
    text = pathlib.Path(path).read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        sys.exit(f"{path}: expected the lines '{BEGIN}' and '{END}'")
    found = text.split(BEGIN, 1)[1].split(END, 1)[0].strip()
    if found != expected.strip():
        sys.exit(f"{path}: the generated part is out of date; put what `python3 wire/generate.py --docs` prints between its markers")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--docs", action="store_true")
    parser.add_argument("--check-docs", metavar="FILE")
    arguments = parser.parse_args()
    apis = read_apis()
    if arguments.docs:
        print("\n".join(docs_lines(apis)))
    if arguments.check_docs:
        check_docs(arguments.check_docs, "\n".join(docs_lines(apis)))
    if arguments.out:
        folder = arguments.out / "streambus" / "wire"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "errors.hpp").write_text("\n".join(errors_hpp(read_errors())) + "\n", encoding="utf-8")
        (folder / "messages.hpp").write_text("\n".join(messages_hpp(apis)) + "\n", encoding="utf-8")
        (folder / "walk.hpp").write_text("\n".join(walk_hpp(apis)) + "\n", encoding="utf-8")
        (arguments.out / "messages.cpp").write_text("\n".join(messages_cpp(apis)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
