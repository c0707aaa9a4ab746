"""`pio run -t upload`: PlatformIO compiles, `wasmote flash` writes, and what is then in the flash memory runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from emulated_board import EmulatedBoard
from platformio_core import prepare_core, run_pio

from wasmote.adapters.tools import find_tool

pytest.importorskip("platformio")


@pytest.mark.slow
def test_pio_upload_flashes_what_it_compiled(tmp_path: Path) -> None:
    if find_tool("qemu-system-arm") is None:
        pytest.skip("qemu-system-arm is not installed")
    core = tmp_path / "core"
    prepare_core(core)
    with EmulatedBoard(tmp_path) as board:
        done = run_pio(
            core, "run", "-e", "netduinoplus2", "-t", "upload", "--upload-port", board.path, "-j", "2"
        )
        assert done.returncode == 0, done.stdout + done.stderr
        image = (core / "build/netduinoplus2/firmware.bin").read_bytes()
        assert len(image) > 50_000 and board.chip.flash[: len(image)] == image
        assert "netduinoplus2-emulated" in done.stdout  # the node's own words, after its start

        nowhere = run_pio(core, "run", "-e", "netduinoplus2", "-t", "upload", "--upload-port", "/dev/nowhere")
        assert nowhere.returncode != 0
        assert "/dev/nowhere" in nowhere.stdout + nowhere.stderr
