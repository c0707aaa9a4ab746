"""The engine on a NATS server with JetStream, for one or several fleet servers."""
