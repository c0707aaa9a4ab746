"""Some dozen nodes on one server, a fifth of them killed and back again at any time, under load. The full form, with
200 nodes and five minutes, is storm.py as a command."""

from __future__ import annotations

from pathlib import Path

import pytest
from storm import Storm, run
from support import HOST, built

pytestmark = pytest.mark.slow


def test_every_answer_is_right_and_what_should_be_is_reached_again(tmp_path: Path) -> None:
    storm = Storm(nodes=40, seconds=20.0, share=0.2, seed=7, rate=20.0, beat_s=1.0)

    found = run(storm, built(HOST), tmp_path, print)

    assert found.faults == []
    assert found.figures["storm"]["kills"] >= 5
    # Four fifths of the nodes are there at any time, and have the function: a call that may be repeated finds one.
    assert found.figures["storm"]["calls"]["deployment, repeatable"]["failed"] == {}
