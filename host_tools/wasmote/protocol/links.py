"""CoRE link format (RFC 6690): what `/.well-known/core` and `/f` answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


class LinkFormatError(ValueError):
    """Not a link list."""


@dataclass(frozen=True, slots=True)
class Link:
    """One link. Attributes without a value are "" ; a repeated attribute keeps its first value."""

    target: str
    attributes: dict[str, str] = field(default_factory=dict)

    def words(self, name: str) -> tuple[str, ...]:
        """An attribute that lists words, such as rt, if and ct."""
        return tuple(self.attributes.get(name, "").split())


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def peek(self) -> str:
        return self._text[self._at] if self._at < len(self._text) else ""

    def expect(self, char: str) -> None:
        if self.peek() != char:
            raise LinkFormatError(f"expected {char!r} at character {self._at}")
        self._at += 1

    def skip_space(self) -> None:
        while self.peek() in (" ", "\t", "\r", "\n") and self.peek():
            self._at += 1

    def until(self, stops: str) -> str:
        start = self._at
        while self.peek() and self.peek() not in stops:
            self._at += 1
        return self._text[start : self._at]

    def quoted(self) -> str:
        self.expect('"')
        out = []
        while (char := self.peek()) != '"':
            if not char:
                raise LinkFormatError("a quoted value does not end")
            if char == "\\":
                self._at += 1
                char = self.peek()
            out.append(char)
            self._at += 1
        self.expect('"')
        return "".join(out)


def parse(text: str) -> list[Link]:
    """The links, in order. Raises LinkFormatError."""
    reader = _Reader(text)
    links: list[Link] = []
    reader.skip_space()
    while reader.peek():
        reader.expect("<")
        target = reader.until(">")
        reader.expect(">")
        attributes: dict[str, str] = {}
        reader.skip_space()
        while reader.peek() == ";":
            reader.expect(";")
            reader.skip_space()
            name = reader.until("=;, \t")
            reader.skip_space()
            value = ""
            if reader.peek() == "=":
                reader.expect("=")
                reader.skip_space()
                value = reader.quoted() if reader.peek() == '"' else reader.until(";, \t")
            attributes.setdefault(name, value)
            reader.skip_space()
        links.append(Link(target, attributes))
        if reader.peek():
            reader.expect(",")
            reader.skip_space()
            if not reader.peek():
                raise LinkFormatError("the list ends with a comma")
    return links


def encode(links: Iterable[Link]) -> str:
    """Links as text. An attribute whose value is empty is written without one."""

    def attribute(name: str, value: str) -> str:
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f';{name}="{escaped}"' if value else f";{name}"

    return ",".join(
        f"<{link.target}>" + "".join(attribute(name, value) for name, value in link.attributes.items())
        for link in links
    )
