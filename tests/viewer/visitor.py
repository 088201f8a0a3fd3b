"""A visitor without a browser: it speaks to the server as the page does."""

import json
from contextlib import contextmanager

from websockets.sync.client import connect

SECONDS = 120  # that an answer may take


class Talk:
    """A connection that has shown its token."""

    def __init__(self, socket):
        self._socket = socket
        self._number = 0
        self.told = []  # what came unasked

    def send(self, text):
        self._socket.send(text)

    def ask(self, what, /, **facts):
        """Returns the answer to a question, and the bytes after it."""
        self._number += 1
        self._socket.send(json.dumps({"ask": what, "id": self._number, **facts}))
        while True:
            found, content = self.receive()
            if found.get("id") == self._number:
                return found, content
            self.told.append(found)

    def receive(self):
        message = self._socket.recv(SECONDS)
        if isinstance(message, str):
            return json.loads(message), None
        line, _, content = message.partition(b"\n")
        return json.loads(line), content


@contextmanager
def visiting(server, token=None, origin=None):
    """Gives a connection to a server, which has been welcomed."""
    host = f"{server.host}:{server.port}"
    with connect(f"ws://{host}/socket", origin=origin or f"http://{host}", max_size=2**28, compression=None) as socket:
        socket.send(json.dumps({"token": token or server.token}))
        talk = Talk(socket)
        assert talk.receive()[0] == {"welcome": True}
        yield talk
