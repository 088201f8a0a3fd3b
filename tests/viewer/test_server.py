"""The server of the live view: whom it lets in, and what it refuses."""

import http.client
import json
import time
from contextlib import ExitStack

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from nerf.errors import InputError
from nerf.viewer.server import MOST_VISITORS, MOST_WAITING, Server
from tests.viewer.visitor import visiting


@pytest.fixture
def server():
    def answer(visitor, message):
        visitor.send({"id": message.get("id"), "heard": message["ask"]}, b"bytes\n")

    made = Server(answer, lambda visitor: None, "127.0.0.1", 0)
    yield made
    made.close()


def fetched(server, path="/", host=None, method="GET"):
    connection = http.client.HTTPConnection(server.host, server.port, timeout=20)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host or f"{server.host}:{server.port}")
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read().decode()


def test_the_page_is_served_with_its_policy_and_says_nothing_of_the_scene(server):
    status, headers, text = fetched(server)
    assert status == 200 and headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'; connect-src 'self'" in text and server.token not in text
    assert '<script id="head" type="application/json">null</script>' in text


@pytest.mark.parametrize(
    "path", ["/settings.yaml", "/../settings.yaml", "/%2e%2e/settings.yaml", "//", "/?x", "/socket/"]
)
def test_there_is_nothing_but_the_page(server, path):
    assert fetched(server, path)[0] == 404


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "localhost.evil.example", "", "[::1", "a b"])
def test_a_foreign_name_of_this_machine_is_refused(server, host):
    assert fetched(server, host=host or "x")[0] in (400, 403)


@pytest.mark.parametrize("host", ["localhost", "localhost:1234", "127.0.0.1", "[::1]:7007"])
def test_a_tunnel_may_have_another_port(server, host):
    assert fetched(server, host=host)[0] == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1", "http://localhost:1"])
def test_a_foreign_origin_is_refused(server, origin):
    with pytest.raises(InvalidStatus, match="403"), visiting(server, origin=origin):
        pass


def test_without_an_origin_nobody_is_let_in(server):
    with pytest.raises(InvalidStatus, match="403"), connect(f"ws://{server.host}:{server.port}/socket"):
        pass


@pytest.mark.parametrize(
    "first", ['{"token": "wrong"}', '{"token": null}', "{}", "[]", "{", "[" * 9999, '{"token": NaN}']
)
def test_without_the_token_nothing_is_answered(server, first):
    host = f"{server.host}:{server.port}"
    with connect(f"ws://{host}/socket", origin=f"http://{host}") as socket:
        socket.send(first)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(20)
        assert closed.value.rcvd.code == 1008
    assert server.visitors == set()


@pytest.mark.parametrize(
    ("text", "code"), [("x" * 10_000_000, 1009), ("{", 1007), ("[1]", 1007), (b"\xff\x00", 1007), ('{"id": [1]}', 1007)]
)
def test_a_message_that_is_none_ends_the_connection_and_nothing_else(server, text, code):
    with visiting(server) as talk, pytest.raises(ConnectionClosed) as closed:
        talk.send(text)
        talk.receive()
    assert closed.value.rcvd.code == code
    with visiting(server) as talk:
        assert talk.ask("x") == ({"id": 1, "heard": "x"}, b"bytes\n")


def test_only_so_many_may_watch_and_a_place_is_free_again_when_one_has_left(server):
    with ExitStack() as stack:
        for _ in range(MOST_VISITORS):
            stack.enter_context(visiting(server))
        with pytest.raises(InvalidStatus, match="503"), visiting(server):
            pass
    for _ in range(100):
        if not server.visitors:
            break
        time.sleep(0.05)
    with visiting(server) as talk:
        server.tell({"state": 1})
        assert talk.receive()[0] == {"state": 1}


def test_a_port_that_is_taken_gives_way_and_an_address_of_others_is_refused(server):
    other = Server(lambda visitor, message: None, lambda visitor: None, "127.0.0.1", server.port)
    assert other.port != server.port and other.token != server.token
    other.close()
    with pytest.raises(InputError, match="cannot listen there"):
        Server(lambda visitor, message: None, lambda visitor: None, "192.0.2.1", 0)


def test_the_token_is_in_the_fragment_which_no_browser_sends(server):
    assert server.address == f"http://127.0.0.1:{server.port}/#{server.token}"
    assert len(server.token) >= 22 and json.dumps(server.token)


def test_a_visitor_who_takes_nothing_is_let_go_and_nobody_waits_for_it(server):
    """Its sender is stuck in the socket, with the lock of the connection in its hands."""
    with visiting(server) as talk:
        visitor = next(iter(server.visitors))
        talk._socket.recv_messages.pause()
        visitor.send({}, bytes(60_000_000))
        start = time.monotonic()
        for _ in range(MOST_WAITING + 2):
            server.tell({"state": 1})
        assert time.monotonic() - start < 20 and visitor._gone
        for _ in range(200):
            if not server.visitors:
                break
            time.sleep(0.05)
        assert server.visitors == set()
