"""The process in which a function runs locally: wasm3 through pywasm3, with the node's host imports.

wasm3 does not validate, and a call cannot be interrupted from Python: so both happen in a process of their own, which
may crash or be killed. It reads one CBOR map on stdin and writes one CBOR map a call on stdout (local.py has both).
"""

from __future__ import annotations

import sys
import time
from typing import Any

import cbor2
import wasm3

_TRAPS = {
    "unreachable executed": "unreachable",
    "out of bounds memory access": "memory",
    "integer divide by zero": "div-zero",
    "integer overflow": "int-overflow",
    "invalid conversion to integer": "int-convert",
    "indirect call type mismatch": "signature",
    "undefined element": "table",
    "null table element": "null-call",
    "stack overflow": "stack-wasm",
}
_LOG_BYTES = 80
_INFO = 2


class _Trap(Exception):
    pass


class _Instance:
    def __init__(self, request: dict[str, Any]) -> None:
        self.started_ms = time.monotonic_ns() // 1_000_000
        self.output_limit: int = request["output"]
        self.input, self.input_at = b"", 0
        self.output = bytearray()
        self.log: list[tuple[int, str]] = []
        self.printed = ""
        self.sensors = dict.fromkeys(request["sensors"], 0.0)
        self.runtime = wasm3.Environment().new_runtime(request["stack"])
        module = wasm3.Environment().parse_module(request["module"])
        self.runtime.load(module)
        functions = {
            ("wasmote", "input"): self._input,
            ("wasmote", "output"): self._output,
            ("wasmote", "log"): self._log,
            ("wasmote", "millis"): self._millis,
            ("sys", "millis"): self._millis32,
            ("sys", "delay"): self._delay,
            ("sys", "print"): self._print,
            ("sys", "println"): lambda number: self._put(f"{number}\n"),
            ("sys", "printInt"): lambda number: self._put(str(number)),
            ("communication", "rpcCall"): self._rpc_call,
            ("dht", "getTemperature"): lambda: self.sensors["temperature"],
            ("dht", "getHumidity"): lambda: self.sensors["humidity"],
            ("env", "get_rainfall"): lambda: self.sensors["rainfall"],
            ("env", "set_rainfall"): lambda value: self.sensors.update(rainfall=value),
        }
        for where, name, signature in request["imports"]:
            module.link_function(where, name, signature, functions[where, name])

    def call(self, call: dict[str, Any]) -> dict[str, Any]:
        self.input, self.input_at, self.output, self.log = call["input"], 0, bytearray(), []
        self.sensors.update(call["sensors"])
        begin = time.perf_counter()
        answer: dict[str, Any] = {}
        try:
            result = self.runtime.find_function(call["export"])(*call["args"])
            answer["results"] = (
                [] if result is None else list(result) if isinstance(result, tuple) else [result]
            )
        except _Trap as trap:
            answer["trap"], answer["detail"] = str(trap), ""
        except RuntimeError as err:
            text = str(err)
            kind = next((kind for words, kind in _TRAPS.items() if words in text), "other")
            answer["trap"], answer["detail"] = kind, text
        seconds = time.perf_counter() - begin
        self._put("\n")
        return {**answer, "output": bytes(self.output), "log": self.log, "seconds": seconds}

    def _span(self, address: int, length: int) -> memoryview:
        memory = self.runtime.get_memory(0)
        address, length = address & 0xFFFFFFFF, length & 0xFFFFFFFF
        if memory is None or address + length > len(memory):
            raise _Trap("memory")
        view: memoryview = memory[address : address + length]
        return view

    def _input(self, address: int, cap: int) -> int:
        into = self._span(address, cap)
        chunk = self.input[self.input_at : self.input_at + len(into)]
        into[: len(chunk)] = chunk
        self.input_at += len(chunk)
        return len(chunk)

    def _output(self, address: int, length: int) -> int:
        data = self._span(address, length)
        if len(self.output) + len(data) > self.output_limit:
            raise _Trap("output")
        self.output += data
        return length

    def _log(self, level: int, address: int, length: int) -> None:
        text = bytes(self._span(address, length)[:_LOG_BYTES]).decode("utf-8", "replace")
        self.log.append((level, text))

    def _millis(self) -> int:
        return time.monotonic_ns() // 1_000_000 - self.started_ms

    def _millis32(self) -> int:
        return (self._millis() + (1 << 31)) % (1 << 32) - (1 << 31)

    def _delay(self, ms: int) -> None:
        time.sleep(max(ms, 0) / 1000)

    def _print(self, address: int, length: int) -> None:
        self._put(bytes(self._span(address, length)).decode("utf-8", "replace"))

    def _put(self, text: str) -> None:
        *lines, self.printed = (self.printed + text).split("\n")
        for line in lines:
            self.log += [(_INFO, line[at : at + _LOG_BYTES]) for at in range(0, len(line), _LOG_BYTES)]

    def _rpc_call(self, name: int, name_length: int, data: int, length: int) -> None:
        wanted = bytes(self._span(name, name_length)).decode("utf-8", "replace")
        self.log.append((_INFO, f"rpcCall {wanted}: {len(self._span(data, length))} bytes, for nobody here"))


def main() -> None:
    request = cbor2.load(sys.stdin.buffer)
    out = sys.stdout.buffer
    try:
        instance = _Instance(request)
    except (RuntimeError, _Trap) as err:
        out.write(cbor2.dumps({"refused": str(err)}))
        return
    for call in request["calls"]:
        out.write(cbor2.dumps(instance.call(call)))
        out.flush()


if __name__ == "__main__":
    main()
