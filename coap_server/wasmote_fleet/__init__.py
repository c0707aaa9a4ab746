"""The fleet server: many nodes as one system. How it is built: coap_server/DESIGN.md."""
