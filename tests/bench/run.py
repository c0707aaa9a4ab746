"""`./dev bench`: measures a node against the bars, in one run on one machine.

Exit code 0; 1 if a bar in instructions, which are the same on every run, is missed. Rates depend on what else the
machine does: they are reported and never fail the bench.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import build
import callgrind
import engines
import fleet_engine
import fleet_gateway
import looks
import module
import push
import qemu
import rates
import validation
from report import Bar, Report, Table
from servers import Server, catalogue

PARTS = ("rates", "instructions", "engine", "validator", "looks", "push", "fleet-engine", "fleet")

NODE_TO_LIBCOAP = 1.2
NODE_TO_ECHO = 0.8
LIBCOAP_GET_INSTRUCTIONS = 10_995
CHIP_CALL_INSTRUCTIONS = 20_000
CHIP_MHZ = 168
LOOK_MS = 200  # within which a node answers, whatever runs
ENGINE_OVERHEAD = 0.05
PUSH_HOST_S = 0.020
PUSH_SERIAL_S = 0.6
BAUD = 115200

CHIP = "netduinoplus2"
CHIP_TITLE = "emulated STM32F405"


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def measure_rates(report: Report, host: Path, servers: list[Server], quick: bool) -> None:
    rounds, seconds = (3, 0.4) if quick else (7, 1.0)
    say(f"rates: {len(servers)} servers, {rounds} rounds of {seconds} s in {len(rates.MODES)} modes")
    results = rates.measure(host / "bench" / "load", servers, rounds, seconds)
    report.figures["rates"] = [
        {
            "server": r.server.name,
            "outstanding": r.mode.outstanding,
            "rate": r.rate,
            "cpu_us": r.cpu_us,
            "p50_us": r.p50_us,
            "p99_us": r.p99_us,
            "of_echo": r.of_echo,
            "of_node": r.of_node,
            "lost": r.lost,
            "bad": r.bad,
        }
        for r in results
    ]
    for mode in dict.fromkeys(r.mode for r in results):
        own = [r for r in results if r.mode is mode]
        table = Table(
            f"Requests a second, {mode.title}",
            ("server", "of the echo", "server's CPU a reply", "p50", "p99", "lost", "wrong"),
        )
        echo = next(r for r in own if r.server.name == "echo")
        for r in own:
            table.rows.append(
                (
                    r.server.title,
                    f"{r.of_echo:.1%}",
                    f"{r.cpu_us / echo.cpu_us:.2f} x",
                    f"{r.p50_us / echo.p50_us:.2f} x",
                    f"{r.p99_us / echo.p99_us:.2f} x",
                    str(r.lost),
                    str(r.bad),
                )
            )
        say(f"  {mode.title}: " + ", ".join(f"{r.server.name} {r.rate:,.0f}/s" for r in own))
        table.notes.append(
            "CPU (user space and kernel), p50 and p99 as multiples of the echo's. wrong: replies that are no success;"
            " the node answers 5.03 to a call that comes while it runs that very function, as when the machine takes"
            " the processor away in the midst of it."
        )
        report.tables.append(table)
        node = next(r for r in own if r.server.name == "node")
        report.bars.append(
            Bar(
                f"node POST against the echo, {mode.title}",
                f"{node.of_echo:.1%}",
                f">= {NODE_TO_ECHO:.0%}",
                node.of_echo >= NODE_TO_ECHO,
                exact=False,
            )
        )
        for r in own:
            if r.server.name.startswith("libcoap"):
                ratio = 1 / r.of_node
                report.bars.append(
                    Bar(
                        f"node POST against {r.server.title}, {mode.title}",
                        f"{ratio:.2f} x",
                        f">= {NODE_TO_LIBCOAP} x",
                        ratio >= NODE_TO_LIBCOAP,
                        exact=False,
                    )
                )


def measure_instructions(
    report: Report, host: Path, chip: Path | None, servers: list[Server], noop: Path, quick: bool
) -> None:
    say("instructions: callgrind")
    load = host / "bench" / "load"
    counts = {
        server.name: callgrind.measure(load, server, 500 if quick else 2000)
        for server in servers
        if server.name in ("node", "libcoap", "libcoap-root")
    }
    report.figures["instructions"] = {name: round(count.total) for name, count in counts.items()}
    node = counts["node"]
    table = Table("Instructions a request on the host (callgrind, user space)", ("server", "instructions"))
    for server in servers:
        if server.name in counts:
            table.rows.append((server.title, f"{counts[server.name].total:,.0f}"))
    report.tables.append(table)
    layers = Table("Where the node's instructions go (host)", ("layer", "instructions", "most in"))
    for layer, own in node.layers().items():
        top = sorted(
            (
                (cost, name)
                for (file, name), cost in node.functions.items()
                if callgrind.layer_of(file) == layer
            ),
            reverse=True,
        )[:3]
        layers.rows.append((layer, f"{own:,.0f}", ", ".join(f"{name} {cost:.0f}" for cost, name in top)))
    report.tables.append(layers)
    report.figures["layers"] = {layer: round(own) for layer, own in node.layers().items()}
    report.bars.append(
        Bar(
            "node POST on the host, instructions",
            f"{node.total:,.0f}",
            f"< {LIBCOAP_GET_INSTRUCTIONS:,} (libcoap's GET /time)",
            node.total < LIBCOAP_GET_INSTRUCTIONS,
            exact=True,
        )
    )
    if chip is not None:
        say("instructions: QEMU -icount")
        image = chip / "bench" / "wasmote-icount.elf"
        calls = sorted(qemu.instructions_a_call(image, noop.read_bytes(), 20 if quick else 100))
        middle = calls[len(calls) // 2]
        report.figures["chip_call"] = {"median": middle, "least": calls[0], "most": calls[-1]}
        report.bars.append(
            Bar(
                f"node POST on the {CHIP_TITLE}, first byte in to last byte out, instructions",
                f"{middle:,} ({calls[0]:,} to {calls[-1]:,})",
                f"<= {CHIP_CALL_INSTRUCTIONS:,}",
                middle <= CHIP_CALL_INSTRUCTIONS,
                exact=True,
            )
        )


def measure_engine(report: Report, host: Path, chip: Path | None) -> None:
    from wasmote.adapters import apps

    modules = {}
    for work in engines.WORKS:
        modules[work.app] = build.OUT / f"{work.app}.wasm"
        modules[work.app].write_bytes(apps.load(work.app).data)
    where = [("host", "callgrind", lambda: engines.on_host(host / "bench", modules))]
    if chip is not None:
        folder = chip / "bench"
        where.append((CHIP_TITLE, "QEMU -icount", lambda: engines.on_chip(folder, modules)))
    table = Table(
        "The engine with fuel and stack limit against plain wasm3, instructions of one call",
        ("function", "plain wasm3", "wasmote", "more"),
    )
    figures: dict[str, dict[str, float]] = {}
    for title, how, measure in where:
        say(f"engine: {title}, {how}")
        comparisons = measure()
        figures[title] = {c.work.app: round(c.overhead, 4) for c in comparisons}
        for c in comparisons:
            table.rows.append((f"{c.work.app}, {title}", f"{c.plain:,}", f"{c.ours:,}", f"{c.overhead:+.1%}"))
        worst = max(comparisons, key=lambda c: c.overhead)
        report.bars.append(
            Bar(
                f"engine against plain wasm3, instructions, worst of {len(comparisons)}, {title}",
                f"{worst.overhead:+.1%} ({worst.work.app})",
                f"<= {ENGINE_OVERHEAD:+.0%}",
                worst.overhead <= ENGINE_OVERHEAD,
                exact=True,
            )
        )
    report.figures["engine"] = figures
    report.tables.append(table)


def measure_validator(report: Report, host: Path, chip: Path | None) -> None:
    from wasmote.adapters.code_cost import code_cost
    from wasmote.cli import size as size_command

    say("validator: callgrind" + (", QEMU -icount" if chip is not None else ""))
    path = module.of_20_kb()
    size = path.stat().st_size
    table = Table(
        f"Validation of a compiled module of {size:,} bytes (zcbor, elliptic curves of tinydtls; zig -Os)",
        ("where", "instructions", "a byte", f"at {CHIP_MHZ} MHz"),
    )
    count = validation.on_host(host / "bench", path)
    table.rows.append(("host", f"{count:,}", f"{count / size:.1f}", ""))
    figures = {"bytes": size, "host": count}
    if chip is not None:
        found = validation.on_chip(chip / "bench", path)
        count = found.instructions
        figures |= {"chip": count, "chip_stack": found.stack_bytes}
        table.rows.append(
            (
                CHIP_TITLE,
                f"{count:,}",
                f"{count / size:.1f}",
                f"{count / CHIP_MHZ / 1000:.1f} ms, if each takes a cycle",
            )
        )
        cost = code_cost(chip, *size_command.VALIDATOR)
        text_bar = size_command.VALIDATOR_TEXT_BYTES["arm-none-eabi"]
        stack_bar = size_command.VALIDATOR_STACK_BYTES
        figures |= {"text": cost.text, "stack": cost.stack}
        for what, value, bar in (
            ("validator, text on Cortex-M4 (-Os)", cost.text, text_bar),
            ("validator, C stack on its deepest path on Cortex-M4", cost.stack, stack_bar),
            (f"validator, C stack used by {size:,} bytes, {CHIP_TITLE}", found.stack_bytes, stack_bar),
        ):
            report.bars.append(Bar(what, f"{value:,} bytes", f"<= {bar:,}", value <= bar, exact=True))
    report.figures["validator"] = figures
    report.tables.append(table)


def measure_looks(report: Report, chip: Path) -> None:
    say("looks at the link: QEMU -icount")
    found = looks.measure(chip / "bench" / "wasmote-looks.elf")
    report.figures["looks"] = {look.title: look.instructions for look in found}
    for runs, title in (
        (True, f"Most instructions between two looks at the link while a function runs, {CHIP_TITLE}"),
        (False, f"Most instructions between two looks at the link while a module is installed, {CHIP_TITLE}"),
    ):
        table = Table(title, ("function" if runs else "module", "instructions", f"ms at {CHIP_MHZ} MHz"))
        for look in found:
            if look.runs == runs:
                milliseconds = f"{look.instructions / CHIP_MHZ / 1000:.1f}"
                table.rows.append((look.title, f"{look.instructions:,}", milliseconds))
        table.notes.append(
            "At one instruction a cycle. Emulated are 125 million a second: the timer, which asks for a look "
            "every 10 ms, comes after 1.25 million."
        )
        report.tables.append(table)
    worst = max((look for look in found if look.runs), key=lambda look: look.instructions)
    bar = LOOK_MS * CHIP_MHZ * 1000
    report.bars.append(
        Bar(
            f"most instructions between two looks at the link while a function runs, {CHIP_TITLE}",
            f"{worst.instructions:,} ({worst.title})",
            f"<= {bar:,} ({LOOK_MS} ms at {CHIP_MHZ} MHz)",
            worst.instructions <= bar,
            exact=True,
        )
    )


def measure_push(report: Report, chip: Path | None, node: Server, quick: bool) -> None:
    say("push to first reply")
    module = push.module_of_4_kb()
    host_s = push.on_host(node, module, 5 if quick else 15)
    report.figures["push"] = {"bytes": len(module), "host_s": host_s}
    report.bars.append(
        Bar(
            f"push of {len(module):,} bytes to first reply, host",
            f"{host_s * 1000:.1f} ms",
            f"<= {PUSH_HOST_S * 1000:.0f} ms",
            host_s <= PUSH_HOST_S,
            exact=False,
        )
    )
    if chip is not None:
        serial_s = push.on_serial(chip / "wasmote-node.elf", module, 3 if quick else 7, BAUD)
        report.figures["push"] = {"bytes": len(module), "host_s": host_s, "serial_s": serial_s}
        report.bars.append(
            Bar(
                f"push of {len(module):,} bytes to first reply, {CHIP_TITLE}, line held to {BAUD} baud",
                f"{serial_s:.2f} s",
                f"<= {PUSH_SERIAL_S} s",
                serial_s <= PUSH_SERIAL_S,
                exact=False,
            )
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"only these of: {', '.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--host-only", action="store_true", help="without the emulated board")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the report, as in docs/BENCH.md")
    options = parser.parse_args()
    parts = options.parts or list(PARTS)
    if unknown := set(parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")

    report = Report()
    if "fleet-engine" in parts:
        fleet_engine.measure(report, options.quick, say)
    if not set(parts) <= {"fleet-engine"}:
        measure_node(report, parts, options)

    print(report.text(), end="")
    if options.json is not None:
        options.json.write_text(json.dumps(report.json(), indent=2) + "\n")
    if options.markdown is not None:
        options.markdown.write_text(report.markdown())
    return 1 if report.failed else 0


def measure_node(report: Report, parts: list[str], options: argparse.Namespace) -> None:
    """The parts that need a node: it is built before."""
    build.sources(say)
    say("building the host node and the tools")
    host = build.build_board("host")
    chip = None
    if not options.host_only and not set(parts) <= {"rates", "fleet-engine", "fleet"}:
        say(f"building {CHIP}")
        chip = build.build_board(CHIP)
    noop = build.wat(build.HERE / "noop.wat")
    servers = catalogue(host, noop)
    if "rates" in parts:
        measure_rates(report, host, servers, options.quick)
    if "instructions" in parts:
        measure_instructions(report, host, chip, servers, noop, options.quick)
    if "engine" in parts:
        measure_engine(report, host, chip)
    if "validator" in parts:
        measure_validator(report, host, chip)
    if "looks" in parts and chip is not None:
        measure_looks(report, chip)
    if "push" in parts:
        measure_push(report, chip, next(s for s in servers if s.name == "node"), options.quick)
    if "fleet" in parts:
        fleet_gateway.measure(report, host / "wasmote-node", options.quick, say)


if __name__ == "__main__":
    sys.exit(main())
