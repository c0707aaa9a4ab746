"""wasmote: push, call and replace WebAssembly functions on microcontrollers.

Layers: `protocol` (sans-IO: bytes and state, nothing else) <- `adapters` (sockets, serial ports, files, compilers)
<- `cli` (one file a command).
"""

__version__ = "0.1.0"
