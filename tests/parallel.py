"""How pytest-xdist's workers share the tests (`pytest -n 2`): a file's tests go to one worker, one after the other, as
its fixtures want it; those of a few long files go one by one; what takes longest comes first, so that the workers end
together."""

from __future__ import annotations

import pytest
from xdist.scheduler import LoadScopeScheduling

# Files that take most of a minute or longer, the longest first. Those in APART make one item each of their tests.
LONG = (
    "tests/integration/test_arenas.py",
    "tests/conformance/test_core_suite.py",
    "tests/fuzz/test_fuzz.py",
    "tests/integration/test_conformance_boards.py",
    "tests/conformance/test_agreement.py",
    "tests/integration/test_ethernet.py",
    "tests/flash/test_esp_flash.py",
    "tests/integration/test_boards.py",
    "tests/integration/test_platformio.py",
    "tests/integration/test_registration.py",
    "tests/flash/test_stm32_flash.py",
    "tests/integration/test_lossy.py",
    "tests/fleet/test_fleet_openapi.py",
    "tests/fleet/test_fleet_http.py",
)
APART = ("tests/integration/test_arenas.py", "tests/integration/test_boards.py")


def rank(nodeid: str) -> int:
    """Of a test in the order of work: that of its file in LONG."""
    file = nodeid.split("::", 1)[0]
    return LONG.index(file) if file in LONG else len(LONG)


class Schedule(LoadScopeScheduling):
    """Work by the file, in the order in which the workers have collected it (conftest.py sorts by rank)."""

    def schedule(self) -> None:
        self.config.option.loadscopereorder = False
        super().schedule()

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return nodeid if file in APART else file


def sort(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: rank(item.nodeid))
