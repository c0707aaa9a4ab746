"""Web actions, API routes and objects that `url` names, on a real server with a real node."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from whisk_world import Whisk, is_error, pairs, wasm

pytestmark = pytest.mark.slow
WEB = "/api/v1/web/guest/default"


@pytest.fixture(scope="module", autouse=True)
def actions(whisk: Whisk) -> None:
    web = pairs(web_export=True, final=True)
    whisk.made("actions", "wrap", wasm("main", annotations=web, parameters=pairs(name="Jane")))
    whisk.made("actions", "echo", wasm("echo", annotations=pairs(web_export=True)))
    whisk.made("actions", "raw", wasm("main", annotations=pairs(web_export=True, raw_http=True)))
    whisk.made("actions", "fails", wasm("fails", annotations=pairs(web_export=True)))
    whisk.made("actions", "trap", wasm("trap", annotations=pairs(web_export=True)))
    whisk.made("actions", "private", wasm("main"))


def test_parameters_of_a_request(whisk: Whisk) -> None:
    done = whisk("GET", f"{WEB}/wrap.json/deep/er?city=Bath&city=Kent&empty=")
    assert done.status_code == 200 and done.headers["Content-Type"] == "application/json"
    got = done.json()["got"]
    assert (got["city"], got["empty"], got["name"]) == ("Kent", "", "Jane")
    assert (got["__ow_method"], got["__ow_path"]) == ("get", "/deep/er")
    assert "host" in got["__ow_headers"]
    assert done.headers["Access-Control-Allow-Origin"] == "*"
    assert "sandbox" in done.headers["Content-Security-Policy"]
    assert whisk.activation(done.headers["X-Openwhisk-Activation-Id"])["name"] == "wrap"

    assert whisk("POST", f"{WEB}/echo.json?a=1", {"a": 2, "b": None}).json()["a"] == 2
    form = whisk("POST", f"{WEB}/echo.json", data={"a": "x y"}).json()
    assert form["a"] == "x y" and form["__ow_method"] == "post"
    text = {"Content-Type": "text/plain"}
    assert whisk("PUT", f"{WEB}/echo.json", data=b"words", headers=text).json()["__ow_body"] == "words"
    binary = whisk("POST", f"{WEB}/echo.json", data=b"\0\xff", headers={"Content-Type": "image/png"}).json()
    assert base64.b64decode(binary["__ow_body"]) == b"\0\xff"
    listed = whisk("POST", f"{WEB}/echo.json", [1, 2]).json()
    assert listed["__ow_body"] == [1, 2]

    is_error(whisk("GET", f"{WEB}/wrap.json?name=Anne"), 400, "not allowed")
    is_error(whisk("GET", f"{WEB}/echo.json?__ow_user=root"), 400, "not allowed")
    is_error(whisk("POST", f"{WEB}/echo.json", {"__ow_path": "/"}), 400, "not allowed")
    is_error(whisk("POST", f"{WEB}/echo.json", data=bytes(1 << 21), headers=text), 413, "1048576")
    json_type = {"Content-Type": "application/json"}
    is_error(whisk("POST", f"{WEB}/echo.json", data="{", headers=json_type), 400, "malformed")


def test_raw_requests(whisk: Whisk) -> None:
    body = whisk("POST", f"{WEB}/raw.json?name=Jane&__ow_user=x", {"name": "Anne"}).json()["got"]
    assert body["__ow_query"] == "name=Jane&__ow_user=x"
    assert json.loads(base64.b64decode(body["__ow_body"])) == {"name": "Anne"}
    assert "name" not in body
    assert whisk("GET", f"{WEB}/raw.json").json()["got"]["__ow_body"] == ""


@pytest.mark.parametrize(
    ("extension", "result", "status", "media_type", "body"),
    [
        ("", {"body": "<b>hi</b>"}, 200, "text/html", b"<b>hi</b>"),
        (".http", {"body": "<b>hi</b>", "statusCode": 201}, 201, "text/html", b"<b>hi</b>"),
        (".http", {"body": {"a": 1}}, 200, "application/json", b'{"a":1}'),
        (".http", {"statusCode": "404", "body": ""}, 404, "", b""),
        (".http", {}, 204, "", b""),
        (".http", {"headers": {"content-type": "image/png"}, "body": "AP8="}, 200, "image/png", b"\0\xff"),
        (".http", {"headers": {"content-type": "text/plain"}, "body": "AP8="}, 200, "text/plain", b"AP8="),
        (".html", {"html": "<i>"}, 200, "text/html; charset=utf-8", b"<i>"),
        (".svg", {"svg": "<svg/>"}, 200, "image/svg+xml", b"<svg/>"),
        (".text", {"text": "words"}, 200, "text/plain; charset=utf-8", b"words"),
        (".text", {"body": [1]}, 200, "text/plain; charset=utf-8", b"[\n  1\n]"),
    ],
)
def test_responses(
    whisk: Whisk, extension: str, result: dict[str, Any], status: int, media_type: str, body: bytes
) -> None:
    done = whisk("POST", f"{WEB}/echo{extension}", result)
    assert (done.status_code, done.content) == (status, body)
    assert done.headers.get("Content-Type", "") == media_type


@pytest.mark.parametrize(
    ("extension", "result", "status", "text"),
    [
        (".http", {"statusCode": 99, "body": "x"}, 400, "not valid 'message/http'"),
        (".http", {"statusCode": "many"}, 400, "not valid 'message/http'"),
        (".http", {"headers": {"x": "a\r\nset-cookie: b"}, "body": "x"}, 400, "not valid 'message/http'"),
        (".http", {"headers": {"a b": "c"}, "body": "x"}, 400, "not valid 'message/http'"),
        (".http", {"headers": [], "body": "x"}, 400, "not valid 'message/http'"),
        (".http", {"headers": {"content-type": "???"}, "body": "x"}, 400, "known content-type"),
        (".http", {"headers": {"content-type": "image/png"}, "body": "no base64!"}, 400, "did not match"),
        (".html", {"html": 1}, 400, "not valid 'text/html'"),
        (".svg", {}, 400, "not valid 'image/svg+xml'"),
        (".text", {"other": 1}, 404, "requested property"),
    ],
)
def test_responses_that_cannot_be(
    whisk: Whisk, extension: str, result: dict[str, Any], status: int, text: str
) -> None:
    is_error(whisk("POST", f"{WEB}/echo{extension}", result), status, text)


def test_headers_that_a_function_sets(whisk: Whisk) -> None:
    headers = {
        "Set-Cookie": ["a=1", "b=2"],
        "X-Count": 3,
        "Content-Length": "9",
        "Transfer-Encoding": "chunked",
    }
    done = whisk("POST", f"{WEB}/echo.http", {"headers": headers, "body": "ok"})
    assert done.content == b"ok" and done.headers["X-Count"] == "3"
    assert done.cookies.get_dict() == {"a": "1", "b": "2"}
    assert done.headers["Content-Length"] == "2"


def test_who_may(whisk: Whisk) -> None:
    is_error(whisk("GET", f"{WEB}/private.json"), 404, "does not exist")
    is_error(whisk("GET", f"{WEB}/nobody.json"), 404, "does not exist")
    is_error(whisk("GET", "/api/v1/web/other/default/echo.json"), 404, "does not exist")
    is_error(whisk("GET", "/api/v1/web/guest/echo.json"), 404, "does not exist")
    whisk.made(
        "actions", "locked", wasm("echo", annotations=pairs(web_export=True, require_whisk_auth="s3cret"))
    )
    is_error(whisk("GET", f"{WEB}/locked.json"), 401, "requires authentication")
    is_error(whisk("GET", f"{WEB}/locked.json", headers={"X-Require-Whisk-Auth": "other"}), 401, "")
    assert whisk("GET", f"{WEB}/locked.json", headers={"X-Require-Whisk-Auth": "s3cret"}).status_code == 200
    options = whisk("OPTIONS", f"{WEB}/locked.json", headers={"Access-Control-Request-Headers": "x-a"})
    assert options.status_code == 200 and options.headers["Access-Control-Allow-Headers"] == "x-a"


def test_errors_of_actions(whisk: Whisk) -> None:
    is_error(whisk("GET", f"{WEB}/trap.json"), 400, "error processing your request")
    is_error(whisk("GET", f"{WEB}/fails.json"), 400, "not valid 'application/json'")
    assert whisk("GET", f"{WEB}/fails.text").text == "no such book"
    head = whisk("HEAD", f"{WEB}/echo.json")
    assert head.status_code == 200 and head.content == b""


APIMGMT = "/api/v1/web/whisk.system/apimgmt"


def route(base: str, path: str, verb: str, action: str) -> dict[str, Any]:
    """What `wsk api create BASE PATH VERB ACTION` sends."""
    return {
        "apidoc": {
            "namespace": "_",
            "gatewayBasePath": base,
            "gatewayPath": path,
            "gatewayMethod": verb,
            "id": f"API:_:{base}",
            "action": {
                "name": action,
                "namespace": "_",
                "backendMethod": verb,
                "backendUrl": f"http://127.0.0.1/api/v1/web/_/default/{action}.http",
                "authkey": "a:b",
            },
        }
    }


def test_api_routes(whisk: Whisk) -> None:
    query = "?accesstoken=DUMMY%20TOKEN&responsetype=json&spaceguid=x"
    made = whisk("POST", f"{APIMGMT}/createApi.http{query}", route("/ml", "/mnist", "POST", "wrap"))
    assert made.status_code == 200, made.text
    assert set(made.json()) == {"namespace", "gwApiUrl", "gwApiActivated", "tenantId", "apidoc"}
    operation = made.json()["apidoc"]["paths"]["/mnist"]["post"]
    assert operation["operationId"] == "post-/mnist"
    assert operation["x-openwhisk"]["action"] == "wrap" and operation["x-openwhisk"]["namespace"] == "guest"
    assert operation["x-openwhisk"]["url"].endswith("/api/v1/web/guest/default/wrap.json")
    url = made.json()["gwApiUrl"].removeprefix(whisk.server.http) + "/mnist"
    assert url == "/api/guest/ml/mnist"
    got = whisk("POST", url, {"digit": 6}).json()["got"]
    assert (got["digit"], got["__ow_path"]) == (6, "/mnist")
    is_error(whisk("GET", url), 404, "does not exist")
    is_error(whisk("POST", "/api/guest/ml", {}), 404, "does not exist")

    again = whisk("POST", f"{APIMGMT}/createApi.http{query}", route("/ml", "/mnist", "POST", "wrap"))
    is_error(again, 400, "already exists")
    http = query.replace("json", "http")
    assert (
        whisk(
            "POST", f"{APIMGMT}/createApi.http{http}", route("/ml", "/books/{isbn}", "GET", "echo")
        ).status_code
        == 200
    )
    assert whisk("GET", "/api/guest/ml/books/42?body=hello").text == "hello"
    is_error(whisk("GET", "/api/guest/ml/books/42/43"), 404, "does not exist")

    listed = whisk("GET", f"{APIMGMT}/getApi.http{query}&limit=0&skip=0").json()["apis"]
    assert [item["id"] for item in listed] == ["API:guest:/ml"]
    assert set(listed[0]["value"]["apidoc"]["paths"]) == {"/mnist", "/books/{isbn}"}
    assert whisk("GET", f"{APIMGMT}/getApi.http{query}&basepath=/none").json() == {"apis": []}

    swagger = {
        "swagger": "2.0",
        "basePath": "/file",
        "info": {"title": "from a file", "version": "1"},
        "paths": {
            "/wrap": {
                "get": {
                    "operationId": "w",
                    "x-openwhisk": {
                        "action": "wrap",
                        "namespace": "guest",
                        "package": "default",
                        "url": "http://h/api/v1/web/guest/default/wrap.json",
                    },
                }
            }
        },
    }
    text = {"apidoc": {"namespace": "_", "swagger": json.dumps(swagger)}}
    assert whisk("POST", f"{APIMGMT}/createApi.http{query}", text).status_code == 200
    assert whisk("GET", "/api/guest/file/wrap").json()["got"]["__ow_path"] == "/wrap"

    delete = f"{APIMGMT}/deleteApi.http{query}&basepath=/ml"
    is_error(whisk("DELETE", f"{delete}&relpath=/none"), 404, "does not exist")
    assert whisk("DELETE", f"{delete}&relpath=/mnist&operation=POST").status_code == 200
    is_error(whisk("POST", url, {}), 404, "does not exist")
    assert whisk("DELETE", delete).status_code == 200
    is_error(whisk("DELETE", delete), 404, "API '/ml' does not exist")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, "apidoc is required"),
        (route("ml", "/x", "GET", "wrap"), "gatewayBasePath must begin with '/'"),
        (route("/ml", "x", "GET", "wrap"), "gatewayPath must begin with '/'"),
        (route("/ml", "/x", "STEAL", "wrap"), "gatewayMethod 'steal'"),
        ({"apidoc": {"swagger": "{}"}}, "has no paths"),
        ({"apidoc": {"swagger": '{"basePath": "/a", "paths": {}}'}}, "no route was made"),
    ],
)
def test_refused_api_routes(whisk: Whisk, body: dict[str, Any], text: str) -> None:
    is_error(whisk("POST", f"{APIMGMT}/createApi.http?responsetype=json", body), 400, text)


# ---- objects ----


class Store(BaseHTTPRequestHandler):
    """An object store: /N is an object of N bytes."""

    def do_GET(self) -> None:
        name = self.path.partition("?")[0].strip("/")
        if not name.isdecimal():
            self.send_error(403)
            return
        self.send_response(200)
        self.send_header("Content-Length", name)
        self.end_headers()
        self.wfile.write(b"x" * int(name))

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Store)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_object_by_url(whisk: Whisk, store: str) -> None:
    whisk.made("actions", "size", wasm("size"))
    assert whisk.result("size", {"url": f"{store}/1234?signature=abc", "other": 1}) == {"size": 2234}
    assert whisk.result("size", {"url": "no url"}) == {"size": 1016}  # the parameters themselves
    assert "403" in whisk.result("size", {"url": f"{store}/secret"}, 502)["error"]
    assert "more than" in whisk.result("size", {"url": f"{store}/1100000"}, 502)["error"]
    refused = whisk.result("size", {"url": "http://10.1.2.3/x"}, 502)["error"]
    assert "must not be reached" in refused
    whisk.made("actions", "size", {"annotations": pairs(fetch_url=False)})
    assert whisk.result("size", {"url": f"{store}/1234"}) == {"size": 1000 + len(f'{{"url":"{store}/1234"}}')}


def test_an_object_with_parameters(whisk: Whisk, store: str) -> None:
    whisk.made("actions", "both", wasm("size", annotations=pairs(url_parameters=True)))
    line = len('{"a":1}\n')
    assert whisk.result("both", {"url": f"{store}/100", "a": 1}) == {"size": 1000 + 100 + line}


def test_code_and_res(whisk: Whisk, store: str) -> None:
    """What the MNIST application answers: 200 with its number, and 500 with what went wrong."""
    style = pairs(result_style="code-res", fetch_url="required")
    whisk.made("actions", "mnist", wasm("add", annotations=[*style, *pairs(parameter_names=["a", "b"])]))
    assert whisk.result("mnist", {"a": 2, "b": 4}) == {"code": 200, "res": 6}
    missing = whisk.result("mnist", {"a": 2})
    assert (missing["code"], missing["res"]) == (500, -2)
    whisk.made("actions", "image", wasm("size", annotations=style))
    assert whisk.result("image", {"url": f"{store}/10"}) == {"size": 1010}
    for args, res in (({}, -2), ({"url": f"{store}/none"}, -1)):
        failed = whisk.result("image", args)
        assert (failed["code"], failed["res"]) == (500, res)
    for main in ("trap", "words"):
        whisk.made("actions", f"model-{main}", wasm(main, annotations=pairs(result_style="code-res")))
        broken = whisk.result(f"model-{main}", {})
        assert (broken["code"], broken["res"]) == (500, -3)
