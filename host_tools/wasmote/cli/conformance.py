"""wasmote conformance: hold a node against tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import click
from click.core import ParameterSource

from wasmote.adapters import own_suite, wast
from wasmote.adapters.conformance import run_file
from wasmote.adapters.project import Project
from wasmote.cli.base import Session
from wasmote.cli.base import command as make_command
from wasmote.cli.conformance_boards import emulated_boards, raise_failures, run_boards
from wasmote.cli.conformance_output import print_boards, print_node, tests_failed, write
from wasmote.cli.node import open_node, run
from wasmote.errors import InputError
from wasmote.protocol.conformance.results import FileResult, NodeResult, junit, total
from wasmote.protocol.conformance.suite import SUBSET, File

_NAME = "wasmote.conformance"


@make_command()
@click.option(
    "--suite",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="The .wast files of the WebAssembly core test suite of 2020-09-28; needs wast2json (package wabt). Without it:"
    " tests that come with wasmote.",
)
@click.option(
    "--subset", is_flag=True, help="Only the files for slow links and small memories: about a minute."
)
@click.option(
    "--file", "names", multiple=True, metavar="NAME", help="Only this file, such as i32; may be repeated."
)
@click.option(
    "--junit", "junit_file", type=click.Path(path_type=Path), metavar="FILE", help="Write JUnit XML, too."
)
@click.option(
    "--emulated", is_flag=True, help="Instead of -t: every board with an emulator, one after the other."
)
@click.option(
    "--board", "boards", multiple=True, metavar="BOARD", help="Of these only this one; may be repeated."
)
def command(
    session: Session,
    suite: Path | None,
    subset: bool,
    names: tuple[str, ...],
    junit_file: Path | None,
    emulated: bool,
    boards: tuple[str, ...],
) -> None:
    """Prove by tests that a node runs WebAssembly as it must.

    Without --suite: every rule of the validator, every instruction, and modules made at random with what another engine
    gives for them.

    Modules are installed as `conformance-N`, called, and removed again. Other functions are left alone, but take memory
    that the tests may need. What a node may refuse (beyond a limit, a feature that it does not have) is counted apart.

    With --emulated or --board the boards' images are built, run in their emulators, and compared in one table.
    """
    if emulated or boards:
        _on_boards(session, boards, list(_files(suite, subset, names)[0]), junit_file)
        return
    session.target()  # where there is none, that is said before a suite is read
    results = run(_run(session, *_files(suite, subset, names)))
    if junit_file is not None:
        write(junit_file, junit([NodeResult("", results)], _NAME))
    print_node(session, results)
    whole = total(results)
    if whole.wrong:
        raise tests_failed(whole.wrong, whole.commands)


def _on_boards(
    session: Session, names: Sequence[str], files: Sequence[File], junit_file: Path | None
) -> None:
    if click.get_current_context().find_root().get_parameter_source("target") == ParameterSource.COMMANDLINE:
        raise InputError(
            "-t names a node that is there; --emulated and --board start nodes of their own",
            next_step="leave out one of them",
        )
    project = Project.find()
    runs = run_boards(session, project, emulated_boards(project, names), files)
    nodes = [one.result for one in runs]
    if junit_file is not None:
        write(junit_file, junit(nodes, _NAME))
    print_boards(session, nodes)
    raise_failures(runs)


def _files(suite: Path | None, subset: bool, names: Iterable[str]) -> tuple[Iterable[File], int]:
    """The files that are asked for, and how many they are."""
    if suite is None:
        own = own_suite.read()
        chosen = _chosen([file.name for file in own], False, names)
        files = [file for file in own if file.name in chosen]
        return files, len(files)
    paths = wast.files(suite)
    chosen = _chosen([path.stem for path in paths], subset, names)
    paths = [path for path in paths if path.stem in chosen]
    return wast.read(paths), len(paths)


def _chosen(there: list[str], subset: bool, names: Iterable[str]) -> set[str]:
    chosen = set(names)
    unknown = sorted(chosen - set(there))
    if unknown:
        raise InputError(
            f"there is no file '{unknown[0]}' in this suite",
            cause=f"it has {', '.join(there)}",
            next_step="give one of these names",
        )
    return chosen or (set(SUBSET) if subset else set(there))


async def _run(session: Session, files: Iterable[File], count: int) -> list[FileResult]:
    results: list[FileResult] = []
    async with open_node(session) as node:
        with session.output.progress("conformance", total=count, unit="files") as bar:
            for done, file in enumerate(files):
                results += await run_file(node.client, file)
                bar.update(done + 1)
    return results
