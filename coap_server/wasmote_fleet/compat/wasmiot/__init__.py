"""wasmiot's HTTP: this fleet as a supervisor towards its orchestrator, and as an orchestrator towards its supervisors.

    supervisor_http > supervisor    bodies, modules: what POST /deploy brings; values: of a call; runs, records: history
    orchestrator_http > orchestrator
        uploads, describe           modules
        book, device                devices: ours, and those elsewhere, which are polled
        manifests > solver          what was asked for, and which device does it; instructions: what each is told
        deployer, failover          devices are told; steps move
        executor                    runs
    devices, ports, joining         our nodes as wasmiot's devices, and how its programs come to know them

docs/compatibility.md has the exchanges, and what is deliberately done otherwise."""
