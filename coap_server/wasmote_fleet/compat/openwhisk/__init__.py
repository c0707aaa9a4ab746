"""OpenWhisk's REST interface on the fleet: actions, activations, triggers, rules, alarms, web actions and API routes.

Its paths and JSON are those of Apache OpenWhisk's controller, so that its clients work; docs/compatibility.md says
where this one differs.
"""
