"""/api/v1/requests, and calls of deployments' functions and chains."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wasmote_fleet.gateway.http.calls import (
    REQUESTS,
    call_body,
    queue,
    queued_json,
    result_response,
    wish,
)
from wasmote_fleet.gateway.http.problems import HttpProblem
from wasmote_fleet.gateway.http.services import query, services
from wasmote_fleet.requests import NotFinished, State, Target
from wasmote_fleet.requests.records import check_id

MAX_WAIT_S = 60.0
MAX_PAGE = 200
USUAL_PAGE = 50
_GRACE_S = 1.0  # for the end of a chain to be written


async def call_function(request: Request) -> Response:
    """A deployment's function: at once, or queued."""
    wanted = wish(request)
    params = request.path_params
    target = Target(deployment=params["deployment"], function=params["function"], export=params.get("export"))
    if wanted.queued:
        return await queue(request, target, wanted)
    result = await services(request).requests.call(
        params["deployment"],
        params["function"],
        params.get("export"),
        await call_body(request),
        deadline_s=wanted.timeout_s,
    )
    return result_response(result)


async def call_chain(request: Request) -> Response:
    """A deployment's chain. Without `queued` it is queued, too, and waited for."""
    wanted = wish(request)
    target = Target(deployment=request.path_params["deployment"], chain=request.path_params["chain"])
    if wanted.queued:
        return await queue(request, target, wanted)
    found = services(request).requests
    made = await found.submit(target, await call_body(request), deadline_s=wanted.timeout_s)
    await found.wait(made.id, wanted.timeout_s + _GRACE_S)
    headers = {"Location": f"{REQUESTS}/{made.id}"}
    try:
        return result_response(await found.result(made.id), headers)
    except NotFinished:
        raise HttpProblem(
            504,
            "unanswered",
            f"{target} gave no result within {wanted.timeout_s:g} s",
            cause="a call of it may still run",
            next_step=f"GET {headers['Location']} shows how far it got",
            headers=headers,
        ) from None


async def list_all(request: Request) -> Response:
    """The history, the newest first."""
    wanted = query(request, "limit", "before", "deployment", "state")
    limit = _number(wanted.get("limit"), "limit", 1, MAX_PAGE, USUAL_PAGE)
    if "before" in wanted:
        check_id(wanted["before"])
    state = wanted.get("state")
    if state is not None and state not in list(State):
        raise HttpProblem(
            400,
            "query",
            f"state is '{state}'",
            cause=f"it is one of {', '.join(State)}",
            next_step="choose one",
        )
    found = await services(request).requests.list(
        limit=int(limit),
        before=wanted.get("before"),
        deployment=wanted.get("deployment"),
        state=None if state is None else State(state),
    )
    return JSONResponse(
        {
            "requests": [queued_json(each) for each in found],
            "before": found[-1].id if len(found) == limit else None,
        }
    )


async def get(request: Request) -> Response:
    """One request; `wait_s`: once it has ended, or as it is by then."""
    wait_s = _number(query(request, "wait_s").get("wait_s"), "wait_s", 0, MAX_WAIT_S, 0)
    found = await services(request).requests.wait(request.path_params["request"], wait_s)
    return JSONResponse(queued_json(found))


async def result(request: Request) -> Response:
    """What it gave: as a call at once would have answered."""
    wait_s = _number(query(request, "wait_s").get("wait_s"), "wait_s", 0, MAX_WAIT_S, 0)
    found = services(request).requests
    rid = request.path_params["request"]
    if wait_s:
        await found.wait(rid, wait_s)
    return result_response(await found.result(rid))


async def delete(request: Request) -> Response:
    """Cancel one that has not ended: it stays in the history. Forget one that has."""
    query(request)
    found = services(request).requests
    rid = request.path_params["request"]
    if (await found.get(rid)).state.finished:
        await found.forget(rid)
        return Response(status_code=204)
    return JSONResponse(queued_json(await found.cancel(rid)))


def _number(text: str | None, name: str, low: float, high: float, usual: float) -> float:
    if text is None:
        return usual
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high or (name == "limit" and value != int(value)):
        raise HttpProblem(
            400,
            "query",
            f"{name} is '{text}'",
            cause=f"it is {low:g} to {high:g}",
            next_step="choose another one",
        )
    return value
