"""`wasmote fleet deploy`: what should run where."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from wasmote.adapters import apps
from wasmote.cli.base import Session
from wasmote.cli.base import command as base_command
from wasmote.errors import InputError, WasmoteError
from wasmote_fleet.cli.client import Client, server_options
from wasmote_fleet.cli.rollout import end_of, follow, summary
from wasmote_fleet.deploy.parse import SpecError, load_json, load_toml, parse_mapping, toml_locator
from wasmote_fleet.deploy.spec import FunctionSpec, Spec, spec_json

_MODULE = "module"


@base_command()
@click.argument("file", metavar="FILE")
@click.option("--no-wait", is_flag=True, help="End once the server has admitted it.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0.1),
    default=600.0,
    metavar="SECONDS",
    help="How long to wait until all is as it should be; otherwise 600.",
)
@server_options
def command(
    session: Session, file: str, no_wait: bool, timeout_s: float, server: str, key: str | None
) -> None:
    """Make FILE (TOML, or JSON by its suffix) what should run where.

    A function with `module` (a .wasm, .wat or .c file, an app's folder, or an app's name; files are looked for beside
    FILE) is compiled and published first. The same FILE again goes on with a rollout that stopped.
    """
    client = Client(server, key)
    spec, sources = read(Path(file))
    published = {name: _publish(client, spec, name, source) for name, source in sources.items()}
    for function, version in published.values():
        session.output.note(f"published {function} {version}")
    functions = tuple(
        replace(one, function=published[one.name][0], version=published[one.name][1])
        if one.name in published
        else one
        for one in spec.functions
    )
    applied = client.request(
        "PUT", "deployments", spec.id, json=spec_json(spec.changed(functions=functions))
    ).json()
    if no_wait:
        session.output.emit(applied, f"{spec.id}: admitted, generation {applied['generation']}")
        return
    progress = follow(session, client, spec.id, timeout_s)
    end_of(progress, timeout_s)
    session.output.emit({**applied, "progress": progress}, summary(progress, applied["spec"]))


def read(path: Path) -> tuple[Spec, dict[str, str]]:
    """The deployment in a file, and by function what its `module` is. Raises InputError, SpecError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        cause = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise InputError(
            f"cannot read {path}", cause=cause, next_step="give a file, in TOML or JSON"
        ) from None
    is_json = path.suffix == ".json"
    raw = load_json(text, str(path)) if is_json else load_toml(text, str(path))
    locate = None if is_json else toml_locator(text)
    sources: dict[str, str] = {}
    functions = raw.get("functions")
    stripped: list[Any] = []
    for index, one in enumerate(functions if isinstance(functions, list) else []):
        if not isinstance(one, dict) or _MODULE not in one:
            stripped.append(one)
            continue
        source = one[_MODULE]
        line = locate(("functions", index, _MODULE)) if locate else None
        where = f"functions[{index + 1}].{_MODULE}"
        if not isinstance(source, str) or not source:
            raise SpecError(
                str(path),
                line,
                where,
                f"{where}: a text is wanted",
                cause="it names a file or an app",
                next_step='such as "fib.wasm"',
            )
        if "digest" in one:
            raise SpecError(
                str(path),
                line,
                where,
                f"{where}: there is a digest, too",
                cause="both say which module it is",
                next_step="leave out one of them",
            )
        stripped.append({name: value for name, value in one.items() if name != _MODULE})
        sources[str(one.get("name"))] = _beside(path, source)
    if isinstance(functions, list):
        raw = {**raw, "functions": stripped}
    return parse_mapping(raw, str(path), locate=locate, also=(_MODULE,)), sources


def _beside(path: Path, source: str) -> str:
    """A source beside the file, if it is there; else as it is: an app's name."""
    beside = path.parent / source
    return str(beside) if beside.exists() else source


def _publish(client: Client, spec: Spec, name: str, source: str) -> tuple[str, str]:
    """The function and the version that a source is now. A changed source whose own version is taken gets one that
    names its digest; a version that the deployment gives is a promise."""
    wanted = spec.function(name)
    assert isinstance(wanted, FunctionSpec)
    compiled = apps.load(source)
    module = apps.with_default_section(compiled, wanted.published)

    def put(version: str | None) -> Mapping[str, Any]:
        query = {} if version is None else {"version": version}
        found: Mapping[str, Any] = client.request(
            "PUT", "functions", wanted.published, query=query, data=module, content_type="application/wasm"
        ).json()
        return found

    try:
        found = put(wanted.version)
    except WasmoteError as error:
        own = compiled.section.version if compiled.section else None
        if error.details.get("kind") != "version-taken" or wanted.version is not None or own is None:
            raise
        found = put(f"{own}+{hashlib.sha256(module).hexdigest()[:12]}"[:64])
    return wanted.published, str(found["version"])
