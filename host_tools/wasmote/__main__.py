"""`python -m wasmote` is the command `wasmote`."""

from wasmote.cli.main import main

main()
