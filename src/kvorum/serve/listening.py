"""Listening with an application, whatever it does, and stopping."""

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from kvorum.errors import KvorumError

WAITING_CONNECTIONS = 2048
LONGEST_HEAD = 2**16
"""Bytes of a request's headers."""


class ListeningServer(uvicorn.Server):
    """One that says when it answers; it stops when `should_exit` is set, too."""

    def __init__(self, app: Any, host: str, port: int, *, patience: int, told: Callable[[str], None]) -> None:
        """`patience`: seconds that a stop waits for what is under way. `told` is given the address once it answers.

        Raises `KvorumError` where it cannot listen.
        """
        self.listening = _listen(host, port)
        self.told = told
        super().__init__(
            uvicorn.Config(
                app,
                http="h11",
                h11_max_incomplete_event_size=LONGEST_HEAD,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=patience,
                timeout_keep_alive=30,
                backlog=WAITING_CONNECTIONS,
                lifespan="on",
            )
        )

    @property
    def address(self) -> str:
        """Where it listens."""
        host, port = self.listening.getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def serve_until_stopped(self) -> None:
        """Answer until a signal, or `should_exit`."""
        with self.listening:
            self.run(sockets=[self.listening])
        if not self.started:
            raise KvorumError("the server did not start; what went wrong is above")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        if self.started and not self.should_exit:
            self.told(self.address)


@contextmanager
def ended_by_signals(server: ListeningServer) -> Iterator[None]:
    """SIGINT and SIGTERM stop a server meanwhile, also one that does not answer yet, and not the process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    # uvicorn has its own while it runs. It raises a signal again once it has stopped, to end a process by it; this one
    # ends in its own time.
    def stop(*_: object) -> None:
        server.should_exit = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=WAITING_CONNECTIONS)
    except (OSError, OverflowError) as error:
        raise KvorumError(f"cannot listen on {host} port {port}: {error}") from None
