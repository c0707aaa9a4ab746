"""wasmote jobs: calls in the background, and those that run or wait their turn."""

from __future__ import annotations

import click

from wasmote.cli.base import Session
from wasmote.cli.base import command as make_command
from wasmote.cli.calls import print_result
from wasmote.cli.node import open_node, run
from wasmote.errors import InputError
from wasmote.node import CallResult, Job


@make_command()
@click.argument("job_id", metavar="[ID]", required=False)
@click.option("--wait", is_flag=True, help="Wait until the job has finished, then print its result.")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=0), metavar="SECONDS", help="How long --wait waits."
)
@click.option("--cancel", is_flag=True, help="Cancel the job, or forget a finished one.")
@click.option(
    "--out", "out_file", metavar="FILE", help="Where the output stream goes; otherwise standard output."
)
def command(
    session: Session,
    job_id: str | None,
    wait: bool,
    timeout_s: float | None,
    cancel: bool,
    out_file: str | None,
) -> None:
    """List jobs; print the result of one (`wasmote call ... --background` starts it).

    A call that somebody waits for is listed until it has run, under an id that begins with a dot: --cancel ends it,
    too.
    """
    if job_id is None:
        if wait or cancel or out_file:
            raise InputError("which job?", next_step="give its id; `wasmote jobs` lists them")
        rows = [_row(job) for job in run(_list(session))]
        if not rows and not session.output.json:
            session.output.note("no jobs: `wasmote call NAME ARGS --background` starts one")
            return
        session.output.table(rows, {"id": "ID", "function": "FUNCTION", "state": "STATE"})
        return
    if cancel:
        was = run(_cancel(session, job_id))
        done = "forgotten" if was.finished else "cancelled"
        session.output.emit({done: job_id}, f"{job_id} {done}")
        return
    result = run(_get(session, job_id, wait, timeout_s))
    if isinstance(result, CallResult):
        print_result(session, result, out_file)
    else:
        session.output.emit(dict(result.raw), f"{result.id}: {result.state}")


def _row(job: Job) -> dict[str, str]:
    return {"id": job.id, "function": f"{job.function}/{job.export}".rstrip("/"), "state": job.state}


async def _list(session: Session) -> list[Job]:
    async with open_node(session) as node:
        return await node.jobs()


async def _cancel(session: Session, job_id: str) -> Job:
    async with open_node(session) as node:
        job = await node.job(job_id)
        await node.cancel_job(job_id)
        return job


async def _get(session: Session, job_id: str, wait: bool, timeout_s: float | None) -> Job | CallResult:
    async with open_node(session) as node:
        job = await node.job(job_id)
        if job.finished or wait:
            return await node.job_result(job_id, timeout_s=timeout_s)
        return job
