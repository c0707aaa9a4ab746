"""wasmiot's HTTP: this fleet as a supervisor towards its orchestrator, and as an orchestrator towards its supervisors.

docs/compatibility.md has the exchanges, and what is deliberately done otherwise."""
