"""wasmote conformance: hold a node against tests."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from wasmote.adapters import own_suite, wast
from wasmote.adapters.conformance import run_file
from wasmote.cli.base import Session
from wasmote.cli.base import command as make_command
from wasmote.cli.node import open_node, run
from wasmote.errors import FailedError, InputError, LocalError
from wasmote.protocol.conformance.results import FileResult, junit, reasons, total
from wasmote.protocol.conformance.suite import SUBSET, File

_SHOWN = 10  # of what failed


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
def command(
    session: Session, suite: Path | None, subset: bool, names: tuple[str, ...], junit_file: Path | None
) -> None:
    """Prove by tests that a node runs WebAssembly as it must.

    Without --suite: every rule of the validator, every instruction, and modules made at random with what another engine
    gives for them.

    Modules are installed as `conformance-N`, called, and removed again. Other functions are left alone, but take memory
    that the tests may need. What a node may refuse (beyond a limit, a feature that it does not have) is counted apart.
    """
    files, count = _files(suite, subset, names)
    results = run(_run(session, files, count))
    if junit_file is not None:
        _write(junit_file, junit(results, "wasmote.conformance"))
    _print(session, results)
    whole = total(results)
    if whole.wrong:
        more = [f"and {len(whole.wrong) - _SHOWN} more"] if len(whole.wrong) > _SHOWN else []
        raise FailedError(
            f"{len(whole.wrong)} of {whole.commands} tests failed",
            cause="\n".join([*whole.wrong[:_SHOWN], *more]),
            next_step="report these lines with the node's description (`wasmote info`)",
        )


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


def _print(session: Session, results: list[FileResult]) -> None:
    whole = total(results)
    rows = [_row(result) for result in [*results, whole]]
    columns = {
        "file": "file",
        "passed": "passed",
        "failed": "failed",
        "refused": "refused",
        "skipped": "skipped",
        "why": "refused or skipped because",
    }
    value = {"files": [_json(result) for result in results], "all": _json(whole)}
    session.output.table(rows, columns, value=value)


def _row(result: FileResult) -> dict[str, Any]:
    return {
        "file": result.name,
        "passed": result.passed.total(),
        "failed": len(result.wrong),
        "refused": result.refused.total(),
        "skipped": result.skipped.total(),
        "why": reasons(result.refused + result.skipped),
    }


def _json(result: FileResult) -> dict[str, Any]:
    return {
        "name": result.name,
        "passed": result.passed,
        "refused": result.refused,
        "skipped": result.skipped,
        "failed": result.wrong,
        "ms": round((result.elapsed_s or 0.0) * 1000, 1),
    }


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise LocalError(
            f"cannot write {path}", cause=error.strerror or str(error), next_step="give another file"
        ) from error
