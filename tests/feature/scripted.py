"""A server that says what a test tells it to: slowly, in halves, or as an old Redis would."""

import socket
import threading
from collections.abc import Callable

Say = Callable[[socket.socket], None]
GREETING = b"%2\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$5\r\nproto\r\n:3\r\n"


class Scripted:
    """Answers each command of one connection after another: `answer(command, connection)`.

    `answer` sees the command's first word. It runs until `close`, on a thread of its own.
    """

    def __init__(self, answer: Callable[[bytes, socket.socket], None]) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.closing = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while not self.closing.is_set():
            connection, _ = self._listener.accept()
            with connection, connection.makefile("rb") as lines:
                try:
                    while not self.closing.is_set() and (head := lines.readline()):
                        words = []
                        for _ in range(int(head[1:])):
                            size = int(lines.readline()[1:])
                            words.append(lines.read(size + 2)[:-2])
                        self._answer(words[0], connection)
                except OSError:
                    continue  # the client has had enough, as tests here intend

    def close(self) -> None:
        """End the thread, and wait for it."""
        self.closing.set()
        with socket.create_connection(("127.0.0.1", self.port)):
            pass  # wakes who waits for a connection
        self._thread.join(10)
        self._listener.close()
