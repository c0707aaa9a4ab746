"""Apps to WebAssembly: C by the pinned zig, .wat by wabt; the `wasmote` section goes in first.

The bytes depend on the sources, app.toml and the pinned compiler only: not on the folder, the user or the time.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from wasmote.adapters.project import Project
from wasmote.adapters.tools import need_tool, run_tool
from wasmote.errors import BuildError, InputError, MissingError
from wasmote.protocol.app import App, AppError, parse_app
from wasmote.protocol.module import Module, parse_module
from wasmote.protocol.section import ABI_VERSION, Section, is_function_name, section_of, with_section
from wasmote.protocol.table_index import plain_table_indexes

# What wasm3 0.5.0 runs (docs/decisions). Zig's default features pad the index of call_indirect, which it refuses.
CPU = "mvp+sign_ext+nontrapping_fptoint+bulk_memory+multivalue+mutable_globals"
FILE_SUFFIXES = (".wasm", ".wat", ".c")


@dataclass(frozen=True)
class Compiled:
    """A module with what is known about it. app: None for a bare file. folder: of app.toml or of the file."""

    name: str
    data: bytes
    module: Module
    section: Section | None
    folder: Path
    app: App | None = None
    written_to: Path | None = None


def find_app(text: str) -> Path:
    """The folder of an app: a path to it or to its app.toml, or a name in wasm_apps. Raises InputError."""
    path = Path(text)
    if path.name == "app.toml" and path.is_file():
        return path.parent
    if (path / "app.toml").is_file():
        return path
    known: list[str] = []
    if os.sep not in text:
        try:
            apps = Project.find().apps
        except MissingError:
            apps = path
        if (apps / text / "app.toml").is_file():
            return apps / text
        known = sorted(found.parent.name for found in apps.glob("*/app.toml"))
    if path.is_dir():
        raise InputError(
            f"no app in {text}",
            cause="there is no app.toml in this folder",
            next_step="`wasmote new NAME` starts an app",
        )
    raise InputError(
        f"no such app: '{text}'",
        cause=f"apps here: {', '.join(known)}" if known else "there is no such folder",
        next_step="give a name from wasm_apps, a folder with an app.toml, or a .wasm, .wat or .c file",
    )


def read_app(folder: Path) -> App:
    """The app.toml in a folder, with sources that exist. Raises AppError."""
    file = folder / "app.toml"
    try:
        app = parse_app(file.read_text(encoding="utf-8"), str(file))
    except (OSError, UnicodeDecodeError) as err:
        raise AppError(str(file), str(err)) from err
    for source in app.sources:
        if not (folder / source).is_file():
            raise AppError(str(file), f"the source {source} does not exist")
        if not source.endswith((".c", ".wat")):
            raise AppError(str(file), f"the source {source} is neither .c nor .wat")
    return app


def load(text: str, *, defines: Mapping[str, str] | None = None, debug: bool = False) -> Compiled:
    """The module that text means: an app (name or folder; it is compiled), or a .wasm, .wat or .c file.

    defines: macros, beside and before those of app.toml. debug: keep names and debug information.
    Raises InputError, MissingError, BuildError.
    """
    path = Path(text)
    if path.suffix in FILE_SUFFIXES and not path.is_dir():
        if not path.is_file():
            raise InputError(f"no such file: {text}", next_step="check its name and the folder you are in")
        if path.suffix == ".wasm":
            return load_wasm(path)
        name = path.stem if is_function_name(path.stem) else "app"
        app = App(name=name, version="", sources=(path.name,), defines=dict(defines or {}))
        return _compile(path.parent, app, debug=debug, bare=True)
    folder = find_app(text)
    app = read_app(folder)
    if defines:
        app = replace(app, defines={**app.defines, **defines})
    return _compile(folder, app, debug=debug, bare=False)


def read_wasm(path: Path) -> bytes:
    """The bytes of a file. Raises InputError."""
    try:
        return path.read_bytes()
    except OSError as err:
        raise InputError(
            f"cannot read {path}", cause=str(err), next_step="check that it is yours to read"
        ) from err


def load_wasm(path: Path) -> Compiled:
    """A .wasm file as it is. Raises InputError."""
    data = read_wasm(path)
    try:
        module = parse_module(data)
        section = section_of(module)
    except InputError as err:
        raise InputError(f"{path}: {err.message}", cause=err.cause, next_step=err.next_step) from err
    name = (section.name if section else None) or path.stem
    return Compiled(name, data, module, section, path.parent)


def with_default_section(compiled: Compiled, name: str) -> bytes:
    """The module; one without a `wasmote` section gets it, from its exports: its memory is cut to what it uses. Its
    table indexes become plain ones."""
    if compiled.section is not None:
        return compiled.data
    heap = None if compiled.module.heap_base is None else 0
    data = plain_table_indexes(compiled.data)
    return with_section(data, Section(name=name, abi=ABI_VERSION, heap=heap))


def output_path(compiled: Compiled) -> Path:
    """Where `compile` writes without -o: build/apps/NAME.wasm for an app of this repository, else beside its source.
    NAME is the folder's, so that two versions of one function have a file each."""
    folder = compiled.folder.resolve()
    if compiled.app is None or not compiled.app.version:
        return (
            compiled.folder / f"{Path(compiled.app.sources[0]).stem if compiled.app else compiled.name}.wasm"
        )
    try:
        project = Project.find()
    except MissingError:
        return compiled.folder / f"{folder.name}.wasm"
    if folder.is_relative_to(project.apps.resolve()):
        return project.build / "apps" / f"{folder.name}.wasm"
    return compiled.folder / f"{folder.name}.wasm"


def write(compiled: Compiled, path: Path) -> Compiled:
    """Write the module; readers see the old file or the new one, whole."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            file.write(compiled.data)
        mask = os.umask(0)
        os.umask(mask)
        Path(file.name).chmod(0o666 & ~mask)
        Path(file.name).replace(path)
    except OSError as err:
        raise InputError(
            f"cannot write {path}", cause=str(err), next_step="choose another file with -o"
        ) from err
    return replace(compiled, written_to=path)


def _compile(folder: Path, app: App, *, debug: bool, bare: bool) -> Compiled:
    where = app.sources[0] if bare else f"{folder / 'app.toml'}"
    with tempfile.TemporaryDirectory(prefix="wasmote-") as temporary:
        out = Path(temporary) / "app.wasm"
        if app.sources[0].endswith(".wat"):
            _assemble(folder, app, out, debug=debug)
        else:
            _compile_c(folder, app, out, debug=debug)
        data = out.read_bytes()
    module = parse_module(data)
    section = app.section
    if bare:
        beyond = dict.fromkeys(entry.module for entry in module.imports if entry.module != "wasmote")
        section = Section(
            name=app.name,
            abi=ABI_VERSION,
            heap=None if module.heap_base is None else 0,
            permissions=tuple(beyond),  # a file has no app.toml that could ask for less
        )
    elif module.heap_base is None:
        section = replace(section, heap=None)
    _check(module, section, app, where)
    data = with_section(data, section)
    return Compiled(app.name, data, parse_module(data), section, folder, app)


def _check(module: Module, section: Section, app: App, where: str) -> None:
    """app.toml against what the compiler made."""
    exports = module.function_exports()
    if not exports:
        raise AppError(where, 'the module exports no function: mark one with WASMOTE_EXPORT("name")')
    for name in (*((section.default,) if section.default else ()), *section.pure, *section.idempotent):
        if name not in exports:
            raise AppError(where, f"there is no exported function '{name}' (there are: {', '.join(exports)})")
    for entry in module.imports:
        if entry.module != "wasmote" and entry.module not in section.permissions:
            raise AppError(
                where,
                f"the app imports {entry.module}.{entry.name}, and permissions does not name '{entry.module}'",
            )
    for number, expect in enumerate(app.expect, 1):
        if expect.export not in exports:
            raise AppError(where, f"[[expect]] {number}: there is no exported function '{expect.export}'")
        if expect.args and len(expect.args) != len(exports[expect.export].params):
            raise AppError(where, f"[[expect]] {number}: {expect.export} is {exports[expect.export]}")


def _compile_c(folder: Path, app: App, out: Path, *, debug: bool) -> None:
    if importlib.util.find_spec("ziglang") is None:
        raise MissingError(
            "the C compiler for WebAssembly (ziglang) is missing", next_step="pip install -e . again."
        )
    sdk = Project.find().sdk.resolve()
    command: list[str | Path] = [
        *(sys.executable, "-m", "ziglang", "cc", "-target", "wasm32-freestanding", f"-mcpu={CPU}"),
        *("-std=c11", f"-O{app.optimize}", "-Wall", "-Wextra", "-I", sdk),
        # Neither the time nor a folder may get into the bytes.
        *("-Wdate-time", f"-ffile-prefix-map={sdk}=sdk", f"-ffile-prefix-map={folder.resolve()}=."),
        *(f"-D{name}={value}" for name, value in sorted(app.defines.items())),
        *app.sources,
        *("-o", out, "-Wl,--no-entry", "-Wl,--export=__heap_base", "-Wl,--gc-sections"),
        # Zig puts the C stack below the variables, so that running over it is a trap and not a wrong result.
        f"-Wl,-z,stack-size={app.c_stack}",
        "-g" if debug else "-Wl,--strip-all",
    ]
    result = run_tool(command, cwd=folder)
    if result.returncode != 0 or not out.is_file():
        raise BuildError(
            f"cannot compile {app.name}",
            cause=result.stderr.strip() or f"zig ended with {result.returncode}",
            next_step="correct the source; what an app may use is in wasm_apps/sdk/wasmote.h",
        )


def _assemble(folder: Path, app: App, out: Path, *, debug: bool) -> None:
    command: list[str | Path] = [
        need_tool("wat2wasm"),
        app.sources[0],
        "-o",
        out,
        *(["--debug-names"] if debug else []),
    ]
    result = run_tool(command, cwd=folder)
    if result.returncode != 0:
        raise BuildError(
            f"cannot assemble {app.sources[0]}", cause=result.stderr.strip(), next_step="correct the file"
        )
