"""The gateway by HTTP: a plain REST interface of its own, described by /openapi.json."""
