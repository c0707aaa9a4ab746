"""The OpenAPI document, kept by hand; a test holds it to the routes. A module here describes the endpoints of the
module of the same name in gateway/http: PATHS, and beside them the SCHEMAS that they speak of. document.py puts them
together."""
