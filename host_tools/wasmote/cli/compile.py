"""`wasmote compile`"""

from __future__ import annotations

import hashlib
from pathlib import Path

import click

from wasmote.adapters import apps
from wasmote.adapters.validator import Validator
from wasmote.cli.base import Session
from wasmote.cli.base import command as make_command
from wasmote.errors import InputError
from wasmote.protocol import problem
from wasmote.protocol.section import memory_bytes


def parse_defines(texts: tuple[str, ...]) -> dict[str, str]:
    """NAME=VALUE (or NAME, which is 1) as a table. Raises InputError."""
    defines = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name.isidentifier():
            raise InputError(f"no macro: '{text}'", next_step="write --define NAME=VALUE")
        defines[name] = value if equals else "1"
    return defines


@make_command()
@click.argument("app")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The file to write.")
@click.option(
    "-D", "--define", multiple=True, metavar="NAME=VALUE", help="A C macro, over those of app.toml."
)
@click.option("--debug", is_flag=True, help="Keep names and debug information.")
def command(session: Session, app: str, output: Path | None, define: tuple[str, ...], debug: bool) -> None:
    """Compile APP to WebAssembly: a name from wasm_apps, a folder with an app.toml, or a .c or .wat file.

    The module's first section says what the app needs, as app.toml has it. An app of this repository goes into
    build/apps, another beside its source, unless -o says where.
    """
    if app.endswith(".wasm") and Path(app).is_file():
        raise InputError(f"{app} is compiled already", next_step="`wasmote push` takes it as it is")
    with session.output.progress(f"compile {app}"):
        made = apps.load(app, defines=parse_defines(define), debug=debug)
    validator = Validator.load()
    if refused := validator.check(made.data, validator.default_limits):
        session.output.warning(
            f"a node with the usual limits refuses {made.name}: {refused.text_of(made.data)}; next: "
            + problem.next_step(refused)
        )
    path = output or apps.output_path(made)
    apps.write(made, path)
    digest = hashlib.sha256(made.data).hexdigest()
    exports = {name: str(kind) for name, kind in made.module.function_exports().items()}
    memory = memory_bytes(made.module, made.section)
    session.output.emit(
        {
            "name": made.name,
            "file": str(path),
            "size": len(made.data),
            "sha256": digest,
            "exports": exports,
            "memory": memory,
        },
        f"{path}: {len(made.data)} bytes, memory {memory} bytes, sha256 {digest[:16]}\n"
        + "\n".join(f"  {name}{kind}" for name, kind in exports.items()),
    )
