"""Calls into the fleet: to nodes by their names, with deadlines and bounds. What HTTP and CoAP clients reach is http/
and coap/."""
