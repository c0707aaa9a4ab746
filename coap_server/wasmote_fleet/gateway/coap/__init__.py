"""The gateway by CoAP."""
