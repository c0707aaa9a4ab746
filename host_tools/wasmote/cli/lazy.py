"""A group of commands that imports a command's module only to run it, and finds further commands by entry points."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click

from wasmote.errors import MissingError

# Section -> command -> (module below the group's package, what it does). The module has the command as `command`.
Sections = Mapping[str, Mapping[str, tuple[str, str]]]

ENTRY_POINTS = "wasmote.commands"


class LazyGroup(click.Group):
    """Commands by section. package: where their modules are. plugins: a section for the commands that installed
    packages bring under the entry point group of that name; None: there are none. extra: the extra of this
    distribution whose packages the modules need."""

    def __init__(
        self,
        *args: Any,
        sections: Sections,
        package: str,
        plugins: str | None = None,
        extra: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._sections = sections
        self._package = package
        self._plugins = plugins
        self._extra = extra

    def _points(self) -> dict[str, EntryPoint]:
        if self._plugins is None:
            return {}
        return {point.name: point for point in entry_points(group=ENTRY_POINTS)}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*(name for section in self._sections.values() for name in section), *sorted(self._points())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for section in self._sections.values():
            if cmd_name in section:
                return self._load(cmd_name, section[cmd_name][0])
        point = self._points().get(cmd_name)
        if point is None:
            return None
        found = point.load()
        assert isinstance(found, click.Command)
        return found

    def _load(self, name: str, module: str) -> click.Command:
        try:
            found = importlib.import_module(f"{self._package}.{module}").command
        except ModuleNotFoundError as err:
            ours = self._package.partition(".")[0]
            if self._extra is None or err.name is None or err.name.partition(".")[0] in ("wasmote", ours):
                raise
            raise MissingError(
                f"{name} needs the Python package {err.name}, which is not installed",
                next_step=f"pip install 'wasmote[{self._extra}]', or in a checkout ./dev setup wasmote {self._extra}",
            ) from None
        assert isinstance(found, click.Command)
        found.name = name
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as err:
            names = ", ".join(self.list_commands(ctx))
            raise click.UsageError(f"{err.message}\nCommands: {names}", ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, section in self._sections.items():
            with formatter.section(title):
                formatter.write_dl([(name, text) for name, (_module, text) in section.items()])
        points = self._points()
        if self._plugins is not None and points:
            rows = [(name, points[name].load().get_short_help_str(100)) for name in sorted(points)]
            with formatter.section(self._plugins):
                formatter.write_dl(rows)
