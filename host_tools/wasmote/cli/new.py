"""`wasmote new`"""

from __future__ import annotations

from pathlib import Path

import click

from wasmote.cli.base import Session
from wasmote.cli.base import command as make_command
from wasmote.errors import InputError
from wasmote.protocol.section import NAME_MAX_BYTES, is_function_name

_SOURCE = """\
#include "wasmote.h"

/* Numbers in, numbers out: wasmote call NAME/add 2 3 */
WASMOTE_EXPORT("add")
int32_t add(int32_t a, int32_t b)
{
    return a + b;
}

/* A stream in, a stream out: wasmote call NAME/upper --in FILE */
WASMOTE_EXPORT("upper")
int32_t upper(void)
{
    static uint8_t buf[64];
    for (int32_t n; (n = wasmote_input(buf, sizeof buf)) > 0;) {
        for (int32_t i = 0; i < n; i++) {
            if (buf[i] >= 'a' && buf[i] <= 'z') {
                buf[i] -= 'a' - 'A';
            }
        }
        wasmote_output(buf, n);
    }
    return 0;
}
"""
_APP = """\
# What may be written here: wasm_apps/README.md in the wasmote repository
name = "NAME"
version = "0.1.0"
sources = ["NAME.c"]
default = "upper"
c_stack = 256
pure = ["add", "upper"]

[[expect]]
export = "add"
args = [2, 3]
result = 5

[[expect]]
export = "upper"
input_text = "hello"
output_text = "HELLO"
"""


@make_command()
@click.argument("name")
@click.option(
    "--in", "folder", type=click.Path(path_type=Path), default=Path(), help="Where its folder is made."
)
def command(session: Session, name: str, folder: Path) -> None:
    """Start an app: a folder NAME with app.toml and a C source that compiles."""
    if not is_function_name(name):
        raise InputError(
            f"'{name}' is no name of a function",
            cause=f"a name is 1 to {NAME_MAX_BYTES} of a-z A-Z 0-9 _ - . and does not start with a dot",
            next_step="choose another name",
        )
    made = folder / name
    try:
        made.mkdir(parents=True)
        (made / "app.toml").write_text(_APP.replace("NAME", name), encoding="utf-8")
        (made / f"{name}.c").write_text(_SOURCE.replace("NAME", name), encoding="utf-8")
    except FileExistsError:
        raise InputError(f"{made} exists", next_step="choose another name, or remove it") from None
    except OSError as err:
        raise InputError(
            f"cannot make {made}", cause=err.strerror or str(err), next_step="choose another folder with --in"
        ) from err
    session.output.emit({"name": name, "folder": str(made)}, str(made))
    session.output.note(f"next: wasmote run {made} --check, then wasmote push {made}")
