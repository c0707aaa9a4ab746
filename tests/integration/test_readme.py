"""README.md's "Sixty seconds by hand": its lines, run by a shell as they stand there."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess

import pytest
from support import HOST, built

from wasmote.adapters.project import Project

ROOT = Project.find().root
README = (ROOT / "README.md").read_text(encoding="utf-8")
PORT = 5683  # in README.md; here it may be in use by somebody who follows it
LIBCOAP = "coap-client-notls"


def by_hand() -> list[str]:
    """The section's command lines; its C is fenced."""
    section = README.partition("## Sixty seconds by hand\n")[2].partition("\n## ")[0]
    without_c = re.sub(r"^```c\n.*?^```\n", "", section, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"^    (\S.*)$", without_c, re.MULTILINE)


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_readme_by_hand() -> None:
    if not (ROOT / ".venv").is_dir():
        pytest.skip("there is no .venv, and ./dev would install one")
    built(HOST)
    build, emulate, *rest = by_hand()
    assert build == "./dev wasmote build host"
    assert "emulate host" in emulate and "leave it running" in emulate
    libcoap = [line for line in rest if line.startswith(LIBCOAP)]
    assert libcoap
    if shutil.which(LIBCOAP) is None:
        rest = [line for line in rest if line not in libcoap]
    port = str(free_port())

    def here(lines: list[str]) -> list[str]:
        text = "\n".join(lines).replace("//127.0.0.1", f"//127.0.0.1:{PORT}").replace(str(PORT), port)
        return ["bash", "-ec", text]

    with subprocess.Popen(here([f"exec {emulate}"]), cwd=ROOT, stdout=subprocess.PIPE, text=True) as node:
        try:
            assert node.stdout is not None
            assert node.stdout.readline() == f"coap://127.0.0.1:{port}\n"
            done = subprocess.run(
                here(rest), cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
            )
        finally:
            node.send_signal(signal.SIGINT)
    assert node.returncode == 0
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6765\n" in done.stdout
    assert f"{README.count(chr(10))} {len(README.split())} {len(README.encode())}\n" in done.stdout
    assert re.search(r"^wordcount +\d+ +wordcount$", done.stdout, re.MULTILINE)
    if shutil.which(LIBCOAP) is not None:
        assert "</f/fib>" in done.stdout  # a client whose exit status says nothing


def test_readme_names_words_and_files_that_exist() -> None:
    usage = subprocess.run([ROOT / "dev", "--help"], capture_output=True, text=True, check=True).stdout
    for word in set(re.findall(r"\./dev ([a-z]+)\b", README)):
        assert re.search(rf"^  {word}\b", usage, re.MULTILINE) or word == "alone", word
    for link in re.findall(r"\]\(([^):]+)\)", README):
        path, _, heading = link.partition("#")
        assert (ROOT / path).exists(), link
        headings = re.findall(r"^#+ (.+)$", (ROOT / path).read_text(), re.MULTILINE) if heading else [""]
        assert heading in [text.lower().replace(" ", "-") for text in headings], link
