"""OpenWhisk's runtime protocol, for a wasm function in a node: /init once, then /run for each activation.

POST /init {"value": {"name", "main", "code", "binary", "env"}}   code: the module in base64, or a zip with it
POST /run  {"value": {...}, "activation_id", "deadline", ...}      200 with the result, or {"error": ...}

What the function logs goes to stdout and stderr, and after each run a line that says where its lines end. A function
has no environment; with WASMOTE_CONTEXT=true in env, its JSON input has the members `__OW_ACTIVATION_ID` and so on, and
those of env. WASMOTE_PARAMETER_NAMES=a,b names the parameters of an export of numbers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from wasmote.errors import WasmoteError
from wasmote.node import Node
from wasmote_fleet.compat.openwhisk import inputs, jsons
from wasmote_fleet.compat.openwhisk.actions import Action, chosen_export, parameter_names
from wasmote_fleet.compat.openwhisk.activations import APPLICATION_ERROR, Outcome
from wasmote_fleet.compat.openwhisk.bodies import WASM, WasmExec, parse_action
from wasmote_fleet.compat.openwhisk.errors import Rejected
from wasmote_fleet.compat.openwhisk.fleet import as_published
from wasmote_fleet.compat.openwhisk.limits import TIMEOUT_MS, ActionLimits
from wasmote_fleet.gateway.http.body import read_body
from wasmote_fleet.repository.modules import describe

MAX_BODY_BYTES = 4 << 20
SENTINEL = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX"
FUNCTION = "action"  # its name on the node
_MOST_S = TIMEOUT_MS[2] / 1000
_NOT_A_DICTIONARY = "The action did not return a dictionary."

# A stream ("stdout" or "stderr") and a line without its end.
Write = Callable[[str, str], None]


class Refusal(Exception):
    """An answer other than 200: `{"error": text}`."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class ActionProxy:
    """node: where the function is put. write: where its log goes. One activation at a time, as the protocol has it."""

    def __init__(self, node: Node, write: Write) -> None:
        self._node = node
        self._write = write
        self._turn = asyncio.Lock()
        self._action: Action | None = None
        self._env: dict[str, str] = {}
        self._log_number = 0

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/init", self._answering(self.init), methods=["POST"]),
                Route("/run", self._answering(self.run), methods=["POST"]),
            ],
            exception_handlers={HTTPException: _refused},
        )

    def _answering(self, do: Callable[[Any], Any]) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            try:
                body = await read_body(request, MAX_BODY_BYTES)
                async with self._turn:
                    return _json(await do(jsons.parse(body) if body else {}))
            except Refusal as refusal:
                return _json({"error": str(refusal)}, refusal.status)
            except Rejected as error:
                return _json({"error": error.message}, error.status)
            except WasmoteError as error:  # a body that is too large, or slow
                return _json({"error": str(error)}, getattr(error, "status", 400))

        return answer

    async def init(self, message: Any) -> dict[str, Any]:
        """Raises Refusal: 403 the second time, 400 for a message that is none, 502 for code that is no function."""
        if self._action is not None:
            text = "Cannot initialize the action more than once."
            self._write("stderr", text)
            raise Refusal(403, text)
        value = message.get("value", {}) if isinstance(message, dict) else None
        env = value.get("env") or {} if isinstance(value, dict) else None
        if not isinstance(value, dict) or not isinstance(env, dict):
            raise Refusal(400, "The message is no object with an object 'value'.")
        if not value.get("code"):
            self._end()
            raise Refusal(502, "Missing main/no code to execute.")
        try:
            self._action = await self._install(value, {str(k): str(v) for k, v in env.items()})
        except WasmoteError as error:
            self._write("stderr", str(error))
            self._end()
            raise Refusal(502, f"The action failed to generate or locate a binary: {error}") from None
        self._env = {str(name): str(text) for name, text in env.items()}
        return {"ok": True}

    async def _install(self, value: dict[str, Any], env: dict[str, str]) -> Action:
        main = value.get("main") or None
        body = parse_action({"exec": {"kind": WASM, "code": value["code"], "main": main}})
        assert isinstance(body.exec, WasmExec)
        module = as_published(FUNCTION, body.exec.code)
        info = describe(module)
        if main == "main" and all(export.name != main for export in info.exports):
            main = None  # what the platform says when nobody chose
        export = chosen_export(info, main)
        annotations = []
        if "WASMOTE_PARAMETER_NAMES" in env:
            annotations.append({"key": "parameter-names", "value": env["WASMOTE_PARAMETER_NAMES"]})
        parameter_names(annotations, export)
        await self._node.push(module, name=FUNCTION)
        _lines, self._log_number = await self._node.log(0xFFFFFFFF)
        facts = {name: getattr(export, name) for name in export.__dataclass_fields__}
        return Action(
            {
                "namespace": "guest",
                "name": str(value.get("name") or FUNCTION),
                "exec": {"kind": WASM},
                "annotations": annotations,
                "limits": ActionLimits().as_json(),
                "wasmote": {"digest": info.digest, "export": facts},
            }
        )

    async def run(self, message: Any) -> Any:
        """Raises Refusal: 400 for a message that is none, 502 without a function, for one that fails, or that gives no
        object."""
        try:
            args = message.get("value", {}) if isinstance(message, dict) else None
            if not isinstance(args, dict):
                raise Refusal(400, "The action did not receive a dictionary as an argument.")
            if self._action is None:
                raise Refusal(502, "The action failed to locate a binary. See logs for details.")
            outcome = await self._call(self._action, self._with_context(args, message), _left_s(message))
            if outcome.ok or outcome.status == APPLICATION_ERROR:
                return outcome.result
            text = str(outcome.result["error"])
            if text.startswith(inputs.NO_JSON):
                self._write("stdout", text)
                text = _NOT_A_DICTIONARY
            raise Refusal(502, text)
        finally:
            self._end()

    async def _call(self, action: Action, args: dict[str, Any], left_s: float) -> Outcome:
        wanted = f"{FUNCTION}/{action.export.name}"
        try:
            body = inputs.input_of(action, args)
            async with asyncio.timeout(left_s):
                if isinstance(body, bytes):
                    result = await self._node.call(wanted, input=body)
                else:
                    result = await self._node.call(wanted, body)
                return inputs.outcome_of(action, result)
        except TimeoutError:
            raise Refusal(502, f"The action did not end before its deadline, in {left_s:.1f} s.") from None
        except WasmoteError as error:
            return inputs.outcome_of_error(action, error)
        finally:
            await self._tell_log()

    def _with_context(self, args: dict[str, Any], message: dict[str, Any]) -> dict[str, Any]:
        if self._env.get("WASMOTE_CONTEXT", "").lower() != "true":
            return args
        context = {f"__OW_{name.upper()}": value for name, value in message.items() if name != "value"}
        return {**self._env, **context, **args}

    async def _tell_log(self) -> None:
        try:
            lines, following = await self._node.log(self._log_number)
        except WasmoteError as error:
            self._write("stderr", f"the function's log was not read: {error}")
            return
        for line in lines:
            if line.source == FUNCTION:
                self._write("stdout" if line.level > 1 else "stderr", line.text)
        self._log_number = following

    def _end(self) -> None:
        for stream in ("stdout", "stderr"):
            self._write(stream, SENTINEL)


def _left_s(message: dict[str, Any]) -> float:
    """Until the activation's deadline, ms since 1970 as a number or a text."""
    try:
        return min(_MOST_S, max(0.1, int(str(message.get("deadline"))) / 1000 - time.time()))
    except ValueError:
        return _MOST_S


def _json(value: Any, status: int = 200) -> Response:
    return Response(jsons.encode(value), status, media_type="application/json")


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _json({"error": f"{request.method} {request.url.path}: {error.detail}"}, error.status_code)
