"""A deployment out of TOML or JSON. Strict: what is not known is an error that names the place and the next step."""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Callable, Mapping
from typing import Any

from wasmote.errors import InputError
from wasmote.protocol.section import NAME_MAX_BYTES, is_function_name
from wasmote.protocol.values import json_integer
from wasmote_fleet.deploy.spec import (
    ALL,
    MAX_COUNT,
    MAX_FREE_BYTES,
    MAX_FUNCTIONS,
    MAX_PARALLEL,
    MAX_PAUSE_S,
    MAX_STEPS,
    MAX_WAVES,
    PERCENT_PATTERN,
    ChainSpec,
    FunctionSpec,
    Rollout,
    Spec,
    StepSpec,
    Wave,
    Where,
    is_id,
)
from wasmote_fleet.engine.blobs import DIGEST_PATTERN
from wasmote_fleet.repository import VERSION_PATTERN

Path = tuple[str | int, ...]
Locate = Callable[[Path], int | None]

_MAX_DOTS = 256
_NAME_RULE = "it has 1 to 64 of the characters a-z A-Z 0-9 _ - . and does not start with a dot"


class SpecError(InputError):
    """A deployment that is written wrongly. field: such as functions[1].count; line: in the text, None if unknown."""

    def __init__(
        self, source: str, line: int | None, field: str, message: str, *, cause: str, next_step: str
    ):
        place = source if line is None else f"{source}, line {line}"
        super().__init__(
            f"{place}: {message}",
            cause=cause,
            next_step=next_step,
            details={"field": field} | ({} if line is None else {"line": line}),
        )
        self.field = field
        self.line = line


def parse_toml(text: str, source: str = "the deployment") -> Spec:
    """The deployment in a TOML text. source: its name, for errors. Raises SpecError."""
    return parse_mapping(load_toml(text, source), source, locate=toml_locator(text))


def parse_json(text: str, source: str = "the deployment") -> Spec:
    """The deployment in a JSON text. Raises SpecError."""
    return parse_mapping(load_json(text, source), source)


def load_toml(text: str, source: str) -> dict[str, Any]:
    """Raises SpecError."""
    for at, content in enumerate(text.splitlines(), 1):
        if content.count(".") > _MAX_DOTS:  # tomllib takes the square of a dotted key's length
            raise SpecError(
                source,
                at,
                "",
                f"this line has more than {_MAX_DOTS} dots",
                cause="no deployment needs them",
                next_step="write a long list on several lines",
            )
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        found = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
        line = int(found[1]) if found else None
        why = re.sub(r" ?\(at .*\)$", "", str(error)) if found else str(error)
        raise SpecError(
            source, line, "", "this is no TOML", cause=why, next_step="correct that line"
        ) from None
    except ValueError:  # which tomllib lets through from int()
        raise SpecError(
            source,
            None,
            "",
            "this cannot be read",
            cause="a whole number in it has thousands of digits",
            next_step="no deployment needs such a number: correct it",
        ) from None


def load_json(text: str, source: str) -> dict[str, Any]:
    """Raises SpecError."""
    try:
        value = json.loads(text, object_pairs_hook=_once, parse_int=json_integer)
        if re.search(r"\\u[dD][89a-fA-F]", text):
            json.dumps(value, ensure_ascii=False).encode()  # half of a surrogate pair is no text
    except json.JSONDecodeError as error:
        raise SpecError(
            source,
            error.lineno,
            "",
            "this is no JSON",
            cause=f"{error.msg} at column {error.colno}",
            next_step="correct that line",
        ) from None
    except (ValueError, RecursionError) as error:
        raise SpecError(
            source, None, "", "this is no JSON", cause=str(error), next_step="correct it"
        ) from None
    if not isinstance(value, dict):
        raise SpecError(
            source,
            1,
            "",
            "the deployment is no object",
            cause=f"it is {_kind(value)}",
            next_step='write {"id": ..., "functions": [...]}',
        )
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the member '{twice}' is given twice in one object")
    return found


def parse_mapping(
    raw: Mapping[str, Any],
    source: str = "the deployment",
    *,
    locate: Locate | None = None,
    also: tuple[str, ...] = (),
) -> Spec:
    """The deployment in what TOML or JSON decoded to. also: members of a function that the caller has read, and that
    the reason for an unknown one names. Raises SpecError."""
    top = _Table(raw, (), source, locate or (lambda path: None))
    top.only("id", "functions", "chains", "rollout")
    id = top.text("id", required=True)
    if not is_id(id):
        raise top.wrong("id", f"'{id}' is no id", _NAME_RULE, "choose another one")
    functions = tuple(_function(table, also) for table in top.tables("functions", MAX_FUNCTIONS))
    if not functions:
        raise top.wrong(
            "functions", "there is no function", "a deployment has one at least", "add [[functions]]"
        )
    chains = tuple(_chain(table) for table in top.tables("chains", MAX_FUNCTIONS))
    spec = Spec(id, functions, chains, _rollout(top.table("rollout")))
    _check_names(spec, top)
    return spec


def _check_names(spec: Spec, top: _Table) -> None:
    for kind, names in (
        ("functions", [function.name for function in spec.functions]),
        ("chains", [chain.name for chain in spec.chains]),
    ):
        for index, name in enumerate(names):
            if name in names[:index]:
                raise top.wrong_at(
                    (kind, index, "name"),
                    f"'{name}' is there twice",
                    f"{kind[:-1]} {names.index(name) + 1} has this name already",
                    "give one of them another name",
                )
    known = {function.name for function in spec.functions}
    for index, chain in enumerate(spec.chains):
        for number, step in enumerate(chain.steps):
            if step.function not in known:
                raise top.wrong_at(
                    ("chains", index, "steps", number),
                    f"there is no function '{step.function}'",
                    f"functions here: {', '.join(sorted(known))}",
                    "name one of them, as FUNCTION or FUNCTION/EXPORT",
                )


def _function(table: _Table, also: tuple[str, ...] = ()) -> FunctionSpec:
    table.only("name", "function", "version", "digest", "nodes", "count", "where", "as", *also)
    name = table.text("name", required=True)
    if not is_id(name):
        raise table.wrong("name", f"'{name}' is no name", _NAME_RULE, "choose another one")
    for key in ("function", "as"):
        value = table.text(key)
        if value and not is_function_name(value):
            raise table.wrong(
                key,
                f"'{value}' is no function name",
                f"it has 1 to {NAME_MAX_BYTES} of the characters a-z A-Z 0-9 _ - . and does not start with a dot",
                "choose another one",
            )
    if not table.text("as") and not is_function_name(name):
        raise table.wrong(
            "name", f"'{name}' is too long for a node", f"there a name has {NAME_MAX_BYTES} bytes", "add `as`"
        )
    version, digest = table.text("version"), table.text("digest")
    if version and not re.fullmatch(VERSION_PATTERN, version):
        raise table.wrong(
            "version", f"'{version}' is no version", "such as 1.0.0", "`wasmote fleet functions` lists them"
        )
    if digest and not re.fullmatch(DIGEST_PATTERN, digest):
        raise table.wrong(
            "digest", "this is no SHA-256", "it has 64 hexadecimal digits, in lower case", "correct it"
        )
    nodes = table.texts("nodes") if "nodes" in table else None
    if nodes is not None and not nodes:
        raise table.wrong("nodes", "the list is empty", "it names candidates", "name some, or leave it out")
    if nodes is not None and len(set(nodes)) != len(nodes):
        raise table.wrong("nodes", "a node is there twice", "each is a candidate once", "remove one")
    return FunctionSpec(
        name,
        table.text("function") or None,
        version or None,
        digest or None,
        nodes,
        _count(table),
        _where(table.table("where")),
        table.text("as") or None,
    )


def _count(table: _Table) -> int | None:
    if "count" not in table:
        return 1
    value = table.raw["count"]
    if value == ALL:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_COUNT:
        raise table.wrong(
            "count", f"this is no count: {value!r}", f'it is 1 to {MAX_COUNT}, or "{ALL}"', "correct it"
        )
    return value


def _where(table: _Table) -> Where:
    table.only("labels", "imports", "ram", "flash")
    labels = table.table("labels")
    for name, value in labels.raw.items():
        if not isinstance(value, str):
            raise labels.wrong(name, "a label's value is a text", f"it is {_kind(value)}", "put it in quotes")
    return Where(
        dict(labels.raw),
        table.texts("imports"),
        table.integer("ram", 0, MAX_FREE_BYTES, 0),
        table.integer("flash", 0, MAX_FREE_BYTES, 0),
    )


def _chain(table: _Table) -> ChainSpec:
    table.only("name", "steps")
    name = table.text("name", required=True)
    if not is_id(name):
        raise table.wrong("name", f"'{name}' is no name", _NAME_RULE, "choose another one")
    steps = table.texts("steps")
    if not 1 <= len(steps) <= MAX_STEPS:
        raise table.wrong(
            "steps",
            f"{len(steps)} steps",
            f"a chain has 1 to {MAX_STEPS}",
            "name functions of this deployment",
        )
    found = []
    for index, text in enumerate(steps):
        function, slash, export = text.partition("/")
        if not function or (slash and not export):
            raise table.wrong_at(
                (*table.path, "steps", index),
                f"'{text}' is no step",
                "it is FUNCTION or FUNCTION/EXPORT",
                "correct it",
            )
        found.append(StepSpec(function, export or None))
    return ChainSpec(name, tuple(found))


def _rollout(table: _Table) -> Rollout:
    table.only("waves", "max_failures", "parallel", "pause_s")
    usual = Rollout()
    waves = usual.waves
    if "waves" in table:
        raw = table.raw["waves"]
        if not isinstance(raw, list) or len(raw) > MAX_WAVES:
            raise table.wrong(
                "waves",
                f"{_kind(raw)}",
                f"it is an array, of {MAX_WAVES} waves at most",
                'such as [1, "10%"]',
            )
        waves = tuple(_wave(table, index, value) for index, value in enumerate(raw))
    return Rollout(
        waves,
        table.integer("max_failures", 1, MAX_COUNT, usual.max_failures),
        table.integer("parallel", 1, MAX_PARALLEL, usual.parallel),
        table.seconds("pause_s", MAX_PAUSE_S, usual.pause_s),
    )


def _wave(table: _Table, index: int, value: object) -> Wave:
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_COUNT:
        return Wave(nodes=value)
    if isinstance(value, str) and re.fullmatch(PERCENT_PATTERN, value) and 0 < float(value[:-1]) <= 100:
        return Wave(part=float(value[:-1]) / 100)
    raise table.wrong_at(
        (*table.path, "waves", index),
        f"this is no wave: {value!r}",
        f'it is a number of nodes, 1 to {MAX_COUNT}, or a part of them, such as "10%"',
        "correct it",
    )


class _Table:
    """A table of the text, with its place."""

    def __init__(self, raw: Mapping[str, Any], path: Path, source: str, locate: Locate) -> None:
        self.raw = raw
        self.path = path
        self._source = source
        self._locate = locate

    def __contains__(self, key: str) -> bool:
        return key in self.raw

    def wrong(self, key: str, message: str, cause: str, next_step: str) -> SpecError:
        return self.wrong_at((*self.path, key), message, cause, next_step)

    def wrong_at(self, path: Path, message: str, cause: str, next_step: str) -> SpecError:
        field = field_text(path)
        return SpecError(
            self._source, self._locate(path), field, f"{field}: {message}", cause=cause, next_step=next_step
        )

    def only(self, *known: str) -> None:
        for key in self.raw:
            if key not in known:
                raise self.wrong(
                    key, "nothing has this name here", f"known: {', '.join(known)}", "check its spelling"
                )

    def text(self, key: str, *, required: bool = False) -> str:
        """ "" where it is absent."""
        if key not in self.raw:
            if required:
                raise self.wrong(key, "it is missing", "nothing stands in for it", "add it")
            return ""
        value = self.raw[key]
        if not isinstance(value, str) or not value or not value.isprintable():
            raise self.wrong(key, "a text is wanted", f"it is {_kind(value)}", "put it in quotes")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.raw.get(key, [])
        if not isinstance(value, list):
            raise self.wrong(
                key, "an array of texts is wanted", f"it is {_kind(value)}", 'such as ["a", "b"]'
            )
        for index, item in enumerate(value):
            if not isinstance(item, str) or not item or not item.isprintable():
                raise self.wrong_at(
                    (*self.path, key, index), "a text is wanted", f"it is {_kind(item)}", "put it in quotes"
                )
        return tuple(value)

    def integer(self, key: str, low: int, high: int, default: int) -> int:
        value = self.raw.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.wrong(
                key, f"this is no such number: {value!r}", f"it is {low} to {high}", "correct it"
            )
        return value

    def seconds(self, key: str, high: float, default: float) -> float:
        value = self.raw.get(key, default)
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
            or not 0 <= value <= high
        ):
            raise self.wrong(key, f"these are no seconds: {value!r}", f"it is 0 to {high:g}", "correct it")
        return float(value)

    def table(self, key: str) -> _Table:
        value = self.raw.get(key, {})
        if not isinstance(value, dict):
            raise self.wrong(
                key, "a table is wanted", f"it is {_kind(value)}", f"write [{key}], or an object"
            )
        return _Table(value, (*self.path, key), self._source, self._locate)

    def tables(self, key: str, most: int) -> list[_Table]:
        value = self.raw.get(key, [])
        if not isinstance(value, list):
            raise self.wrong(
                key, "an array of tables is wanted", f"it is {_kind(value)}", f"write [[{key}]], or an array"
            )
        if len(value) > most:
            raise self.wrong(key, f"{len(value)} of them", f"{most} at most", "make several deployments")
        found = []
        for index, item in enumerate(value):
            if not isinstance(item, dict):
                raise self.wrong_at(
                    (*self.path, key, index), "a table is wanted", f"it is {_kind(item)}", "correct it"
                )
            found.append(_Table(item, (*self.path, key, index), self._source, self._locate))
        return found


def field_text(path: Path) -> str:
    """Such as functions[1].count, counted from 1 as people do."""
    text = ""
    for part in path:
        text += f"[{part + 1}]" if isinstance(part, int) else f"{'.' if text else ''}{part}"
    return text


def _kind(value: object) -> str:
    words = {str: "a text", bool: "true or false", int: "an integer", float: "a number", list: "an array"}
    if value == "":
        return "empty"
    return words.get(
        type(value), "null" if value is None else "a table" if isinstance(value, dict) else "another type"
    )


_HEADER = re.compile(r"\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"\s*([A-Za-z0-9_\"'.-]+?)\s*=")


def toml_locator(text: str) -> Locate:
    """Where in a TOML text a path is: its line, or that of the table it would be in. Lines inside a text of several
    lines are taken for keys, which a person sees through."""
    lines: dict[Path, int] = {(): 1}
    here: Path = ()
    counts: dict[Path, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        header = _HEADER.match(line)
        if header and not _KEY.match(line):
            here = _resolve(_dotted(header[2]), counts)
            if header[1] == "[[":
                counts[here] = counts.get(here, -1) + 1
                here = (*here, counts[here])
            lines.setdefault(here, number)
            lines.setdefault(here[:-1], number)
        elif key := _KEY.match(line):
            path = (*here, *_dotted(key[1]))
            lines.setdefault(path, number)

    def locate(path: Path) -> int | None:
        while path not in lines and path:
            path = path[:-1]
        return lines[path] if path else None

    return locate


def _dotted(text: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in text.split("."))


def _resolve(names: tuple[str, ...], counts: Mapping[Path, int]) -> Path:
    """A header's path, with the index of the last element of each array of tables in front of its end."""
    path: Path = ()
    for index, name in enumerate(names):
        path = (*path, name)
        if path in counts and index < len(names) - 1:
            path = (*path, counts[path])
    return path
