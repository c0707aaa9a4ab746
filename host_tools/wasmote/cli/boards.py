"""`wasmote boards`"""

from __future__ import annotations

from wasmote.adapters.boards import TIERS, list_boards
from wasmote.adapters.project import Project
from wasmote.cli.base import Session
from wasmote.cli.base import command as make_command


@make_command()
def command(session: Session) -> None:
    """List the boards, and how far each is proven.

    "emulated" runs in an emulator (or as a process) in CI, "built" is only built there, "source" builds where the
    vendor's SDK is. None of the three means that it ran on hardware: the board's README says so where it did.
    """
    rows = [
        {
            "name": board.name,
            "tier": board.tier,
            "chip": board.chip,
            "links": ", ".join(link for link, there in board.links.items() if there),
            "title": board.title,
        }
        for board in list_boards(Project.find())
    ]
    session.output.table(
        [{**row, "tier": TIERS[row["tier"]]} for row in rows],
        {"name": "BOARD", "tier": "TIER", "chip": "CHIP", "links": "LINKS", "title": "WHAT"},
        value=rows,
    )
