"""Where the files of the wasmote repository are: boards, firmware, apps, and the build folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from wasmote.errors import InputError, MissingError


@dataclass(frozen=True)
class Project:
    """A checkout of the wasmote repository."""

    root: Path

    @classmethod
    def find(cls) -> Project:
        """WASMOTE_ROOT, the checkout that this package was installed from (editable), or the one around the
        working folder. Raises MissingError."""
        if explicit := os.environ.get("WASMOTE_ROOT"):
            root = Path(explicit).resolve()
            if not _is_checkout(root):
                raise InputError(
                    f"WASMOTE_ROOT is no checkout of wasmote: {root}",
                    next_step="set it to the folder that holds firmware, boards and wasm_apps",
                )
            return cls(root)
        here = Path.cwd()
        for root in (Path(__file__).resolve().parents[3], here, *here.parents):
            if _is_checkout(root):
                return cls(root)
        raise MissingError(
            "no wasmote checkout found",
            cause="boards, firmware and the C header of apps come from the repository",
            next_step="run this inside a checkout, or set WASMOTE_ROOT to one",
        )

    @property
    def boards(self) -> Path:
        return self.root / "boards"

    @property
    def firmware(self) -> Path:
        return self.root / "firmware"

    @property
    def apps(self) -> Path:
        return self.root / "wasm_apps"

    @property
    def sdk(self) -> Path:
        """The folder of wasmote.h, which apps include."""
        return self.apps / "sdk"

    @property
    def build(self) -> Path:
        return self.root / "build"

    @property
    def third_party(self) -> Path:
        return self.build / "third_party"


def _is_checkout(root: Path) -> bool:
    return (root / "firmware" / "third_party.toml").is_file() and (root / "boards").is_dir()
