"""The commands `wasmote fleet ...`, one a file. They print; nothing below them does."""
