"""One small server for the page and its socket, on one port, for browsers that hold a token.

What it lets in, in this order: the page itself, which says nothing of the scene, for whoever names this machine as it
is called (against DNS rebinding); the socket, only from that very page (Origin); and on the socket a first message with
the token, which the address holds in its fragment, so that no log ever sees it. Messages are JSON, small, and bounded.

A message from a browser is an object with an "ask"; an answer bears the "id" of the message. Bytes follow a line of
JSON. A browser that does not take what it is sent is let go; nothing here waits for one.
"""

from __future__ import annotations

import http
import json
import logging
import secrets
import socket
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from nerf.errors import InputError
from nerf.files import parsed_json
from nerf.viewer.page import live_text

LOOPBACK = "127.0.0.1"
OWN_NAME = "localhost"  # by which this machine may always be called, besides by its numbers: no name leads there
MOST_BYTES = 2**20  # of a message from a browser
MOST_VISITORS = 4
MOST_WAITING = 64  # messages that a browser has not taken yet
PATIENCE = 30.0  # seconds that a browser has to take some of them, if it asks for more
TOKEN_SECONDS = 10.0  # within which a browser must show its token
TOKEN_BYTES = 16
HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}
POLICY_VIOLATED = 1008  # as the protocol numbers reasons for closing: who comes again will not be let in either
NO_MESSAGE = 1007
TRY_AGAIN = 1013

Message = dict[str, Any]


class Visitor:
    """A browser that has shown its token."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._outbox: deque[str | bytes] = deque()  # the first one is being sent
        self._changed = threading.Condition()
        self._gone = False
        self._sender = threading.Thread(target=self._send_all, daemon=True)
        self._sender.start()

    @property
    def busy(self) -> bool:
        """Whether it has not yet taken what it was sent."""
        return bool(self._outbox)

    def send(self, facts: Message, content: bytes | None = None, patience: float = 0.0) -> None:
        """Sends facts and, if there is any, what follows them.

        patience: seconds to wait for a browser that is behind with what it takes; only its own thread may wait.
        """
        line = json.dumps(facts, allow_nan=False)
        message = line if content is None else line.encode() + b"\n" + content
        with self._changed:
            if patience > 0:
                self._changed.wait_for(lambda: not self._outbox or self._gone, patience)
            if self._gone:
                return
            if len(self._outbox) >= MOST_WAITING or (patience > 0 and self._outbox):
                self._gone = True
            else:
                self._outbox.append(message)
            self._changed.notify_all()
        if self._gone:
            self.leave()

    def leave(self) -> None:
        """Ends the connection at once, whatever its sender waits for: the socket's own end needs no lock."""
        self.finish()
        with suppress(OSError):
            self._connection.socket.shutdown(socket.SHUT_RDWR)

    def finish(self) -> None:
        """Ends the sending."""
        with self._changed:
            self._gone = True
            self._changed.notify_all()

    def _send_all(self) -> None:
        from websockets.exceptions import ConnectionClosed

        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._outbox or self._gone)
                if self._gone:
                    self._outbox.clear()
                    return
                message = self._outbox[0]
            try:
                self._connection.send(message)
            except (ConnectionClosed, OSError):
                self.finish()
                continue
            with self._changed:
                self._outbox.popleft()
                self._changed.notify_all()


class Server:
    """Serves until it is closed. `answer` is called with every message, in the visitor's own thread."""

    def __init__(
        self, answer: Callable[[Visitor, Message], None], left: Callable[[Visitor], None], host: str, port: int
    ) -> None:
        """left: called when a visitor has gone. port: another one is taken if it is in use, and any if it is 0.

        Raises:
            InputError: nobody can listen there.
        """
        from websockets.sync.server import serve

        self.token = secrets.token_urlsafe(TOKEN_BYTES)
        self.visitors: set[Visitor] = set()
        self._answer = answer
        self._left = left
        self._names = {OWN_NAME, host.lower(), socket.gethostname().lower()}
        self._page = live_text().encode()
        self._lock = threading.Lock()

        silent = logging.Logger("view")
        silent.addHandler(logging.NullHandler())
        listening = _listening(host, port)
        self.host = host
        self.port: int = listening.getsockname()[1]
        self._server = serve(
            self._visit,
            sock=listening,
            process_request=self._let_in,
            max_size=MOST_BYTES,
            compression=None,
            open_timeout=TOKEN_SECONDS,
            logger=silent,
        )
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """What a browser is to open."""
        name = socket.gethostname() if self.host in ("0.0.0.0", "::") else self.host
        return f"http://{f'[{name}]' if ':' in name else name}:{self.port}/#{self.token}"

    def tell(self, facts: Message, passing: bool = False) -> None:
        """Sends facts to every visitor; passing ones, soon told anew, only to who has taken what came before."""
        for visitor in self._present():
            if not (passing and visitor.busy):
                visitor.send(facts)

    def close(self) -> None:
        """Ends all connections and stops listening."""
        for visitor in self._present():
            visitor.leave()
        self._server.shutdown()
        self._thread.join()

    def _present(self) -> list[Visitor]:
        with self._lock:
            return list(self.visitors)

    def _let_in(self, connection: Any, request: Any) -> Any:
        """Returns the answer to a request that is not for the socket, None for one that is."""
        from websockets.datastructures import Headers
        from websockets.http11 import Response

        def answer(status: http.HTTPStatus, content: bytes) -> Response:
            headers = Headers({**HEADERS, "Content-Length": str(len(content)), "Connection": "close"})
            return Response(status.value, status.phrase, headers, content)

        called = request.headers.get_all("Host")
        if len(called) != 1 or not self._is_called(called[0]):
            return answer(http.HTTPStatus.FORBIDDEN, b"This machine is not called that.\n")
        if request.path == "/":
            return answer(http.HTTPStatus.OK, self._page)
        if request.path != "/socket":
            return answer(http.HTTPStatus.NOT_FOUND, b"There is nothing but /.\n")
        if request.headers.get_all("Origin") != [f"http://{called[0]}"]:
            return answer(http.HTTPStatus.FORBIDDEN, b"Another page may not ask.\n")
        if len(self.visitors) >= MOST_VISITORS:
            return answer(http.HTTPStatus.SERVICE_UNAVAILABLE, b"So many are watching already.\n")
        return None

    def _is_called(self, host: str) -> bool:
        """Returns whether this machine may be called that: by a number, which no stranger's name server can lead
        here, or by a name of its own."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        with suppress(ValueError):
            return ip_address(name) is not None
        return name in self._names

    def _visit(self, connection: Any) -> None:
        """Takes the messages of one browser, until it leaves."""
        from websockets.exceptions import ConnectionClosed

        try:
            first = _message(connection.recv(TOKEN_SECONDS))
            if not secrets.compare_digest(str(first.get("token")).encode(), self.token.encode()):
                raise ValueError("not the token of this address")
        except (ValueError, RecursionError, TimeoutError) as error:
            connection.close(POLICY_VIOLATED, str(error)[:100])
            return
        except ConnectionClosed:
            return

        visitor = Visitor(connection)
        with self._lock:
            welcome = len(self.visitors) < MOST_VISITORS  # they may have come while the token was waited for
            if welcome:
                self.visitors.add(visitor)
        if not welcome:
            visitor.finish()
            connection.close(TRY_AGAIN, "so many are watching already")
            return
        try:
            visitor.send({"welcome": True})
            for text in connection:
                self._answer(visitor, _message(text))
        except (ValueError, RecursionError) as error:
            connection.close(NO_MESSAGE, str(error)[:100])
        except ConnectionClosed:
            return
        finally:
            with self._lock:
                self.visitors.discard(visitor)
            visitor.finish()
            self._left(visitor)


def _message(text: str | bytes) -> Message:
    """Returns a message as it was sent.

    Raises:
        ValueError, RecursionError: it is no JSON object.
    """
    tree = parsed_json(text) if isinstance(text, str) else None
    if not isinstance(tree, dict) or not isinstance(tree.get("id"), (int, float, str, type(None))):
        raise ValueError("a message is a JSON object, its id a number or a word")
    return tree


def _listening(host: str, port: int) -> socket.socket:
    """Returns a socket that listens, at another port if the one that was asked for is taken."""
    try:
        kind = socket.getaddrinfo(host, port)[0][0]
        for number in (port, 0):
            try:
                return socket.create_server((host, number), family=kind)
            except PermissionError:
                raise
            except OSError:
                if number == 0:
                    raise
    except (OSError, OverflowError) as error:
        raise InputError(f"--host {host}: cannot listen there ({error}); leave it out for this machine alone") from None
    raise AssertionError("the loop returns or raises")
