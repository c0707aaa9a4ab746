"""wasmote push: install or replace a function."""

from __future__ import annotations

from pathlib import Path

import click

from wasmote.adapters import apps
from wasmote.cli.base import Session
from wasmote.cli.base import command as make_command
from wasmote.cli.calls import size_text
from wasmote.cli.node import hex_etag, open_node, run, time_text
from wasmote.errors import InputError, RefusedError
from wasmote.node import Pushed, Validator, check_name
from wasmote.protocol.fit import fuel_cut


@make_command()
@click.argument("source", metavar="APP|FILE.wasm")
@click.option("--name", help="The function's name on the node. Otherwise the module's own, or the file's.")
@click.option("--bare", is_flag=True, help="Send a module without a `wasmote` section as it is.")
@click.option(
    "--no-check",
    "--force",
    is_flag=True,
    help="Do not look here first whether the node takes it: let the node find what is wrong.",
)
@click.option("--if-new", is_flag=True, help="Only if there is no function of this name.")
@click.option("--if-match", metavar="ETAG", help="Only if what is there has this ETag (`wasmote info`).")
def command(
    session: Session,
    source: str,
    name: str | None,
    bare: bool,
    no_check: bool,
    if_new: bool,
    if_match: str | None,
) -> None:
    """Install a function, or replace one while it is in use.

    An app (a folder with app.toml, or a name from wasm_apps) is compiled first. Before anything is sent, the node's own
    validator looks at the module on this machine, with the limits of the node, and what it imports and asks for is
    compared with what the node says that it has. A replacement answers from the next call on; if it does not load, the
    old one goes on.
    """
    if if_new and if_match is not None:
        raise InputError("--if-new and --if-match exclude each other", next_step="give one of them")
    etag = None if if_match is None else hex_etag(if_match)
    try:
        compiled = apps.load(source)
    except InputError as unreadable:
        module = _unreadable(source)
        if module is None or (no_check and not bare):
            raise
        chosen, added = name or Path(source).stem, 0
        check_name(chosen)
        if not no_check:
            run(_validate(session, module, chosen))
            raise unreadable from None
    else:
        chosen, module = name or compiled.name, compiled.data
        check_name(chosen)
        if compiled.section is None and not bare:
            module = _add_section(session, compiled, chosen)
        added = len(module) - len(compiled.data)
    try:
        pushed = run(_push(session, module, chosen, etag, if_new, not no_check))
    except RefusedError as refused:
        _explain_offset(refused, source, added)
        raise
    _report(session, pushed)


def _unreadable(source: str) -> bytes | None:
    """The bytes of a .wasm file that is no module; None if source is anything else."""
    path = Path(source)
    return apps.read_wasm(path) if path.suffix == ".wasm" and path.is_file() else None


def _explain_offset(refused: RefusedError, source: str, added: int) -> None:
    """The offset that a person finds in the file, where the section that went in first has moved it."""
    offset = refused.details.get("offset")
    if added and isinstance(offset, int) and offset >= added:
        refused.details["file_offset"] = offset - added
        refused.next_step += (
            f"; byte {offset} is byte {offset - added} of {source}, without the section that was added"
        )


def _add_section(session: Session, compiled: apps.Compiled, name: str) -> bytes:
    base = compiled.module.heap_base
    module = apps.with_default_section(compiled, name)
    memory = (
        "it gets all the memory that it declares (it exports no __heap_base)"
        if base is None
        else f"its memory is cut to the {base} bytes below __heap_base"
    )
    if not compiled.module.memories:
        memory = "it has no memory"
    session.output.note(
        f"{compiled.name}: added a `wasmote` section: {memory}; --bare leaves the module as it is"
    )
    return module


async def _validate(session: Session, module: bytes, name: str) -> None:
    validator = Validator.load()
    async with open_node(session) as node:
        await node.validate(module, name=name, validator=validator)


async def _push(
    session: Session, module: bytes, name: str, etag: bytes | None, if_new: bool, check: bool
) -> Pushed:
    validator = Validator.load() if check else None
    async with open_node(session) as node:
        if validator is not None:
            await node.validate(module, name=name, validator=validator)
            if cut := fuel_cut(module, node.described):
                asked, most = cut
                session.output.note(f"{name} asks for {asked} fuel a call; the node gives {most} at most")
        with session.output.progress(f"push {name}", total=len(module), unit="bytes") as bar:
            return await node.push(
                module,
                name=name,
                if_match=etag,
                if_new=if_new,
                progress=lambda done, _total: bar.update(done),
            )


def _report(session: Session, pushed: Pushed) -> None:
    value = {
        "name": pushed.name,
        "created": pushed.created,
        "size": pushed.size_bytes,
        "sha256": pushed.sha256,
        "etag": pushed.etag,
        "ms": round(pushed.elapsed_s * 1000, 1),
        "resumed": pushed.resumed,
        "restarted": pushed.restarted,
        "delayed_ms": round(pushed.delayed_s * 1000, 1),
    }
    extra = "".join(
        text
        for count, text in (
            (pushed.resumed, f", resumed {pushed.resumed} times"),
            (pushed.restarted, f", started again {pushed.restarted} times"),
            (pushed.delayed_s, f", waited {pushed.delayed_s:g} s for the node"),
        )
        if count
    )
    session.output.emit(
        value,
        f"{pushed.name} {'created' if pushed.created else 'replaced'}: {size_text(pushed.size_bytes)},"
        f" sha256 {pushed.sha256[:16]}, {time_text(pushed.elapsed_s)}{extra}",
    )
