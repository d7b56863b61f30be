"""Listening, and stopping."""

import asyncio
import logging
import math
import signal
import socket
import threading
from collections.abc import Callable

import uvicorn

from kvorum.errors import KvorumError
from kvorum.serve.app import build_app
from kvorum.serve.options import ServeOptions
from kvorum.serve.served import Served

log = logging.getLogger(__name__)

WAITING_CONNECTIONS = 2048
LONGEST_HEAD = 2**16
"""Bytes of a request's headers."""


def serve(served: Served, options: ServeOptions | None = None, *, told: Callable[[str], None] = log.info) -> None:
    """Answer until SIGINT or SIGTERM; then finish what was taken, and return.

    `told` is given the address once it answers. Raises `KvorumError` where it cannot listen, and for an address beyond
    loopback without tokens.
    """
    server = Server(served, options or ServeOptions(), told)
    if threading.current_thread() is not threading.main_thread():
        server.serve_until_stopped()
        return
    # uvicorn raises a signal again once it has stopped, to end a process by it; this one ends in its own time.
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        server.serve_until_stopped()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Server(uvicorn.Server):
    """One that says when it answers; it stops when `should_exit` is set, too."""

    def __init__(self, served: Served, options: ServeOptions, told: Callable[[str], None] = log.info) -> None:
        tokens = options.accepted()
        self.listening = _listen(options)
        self.told = told
        self.grace = options.grace
        self.app = build_app(served, options, tokens)
        super().__init__(
            uvicorn.Config(
                self.app,
                http="h11",
                h11_max_incomplete_event_size=LONGEST_HEAD,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=math.ceil(options.grace) + 5,
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
            # Before uvicorn's own start, which would end the process with a trace where the model cannot be set up.
            self.app.state.start()
            self.run(sockets=[self.listening])
        if not self.started:
            raise KvorumError("the server did not start; what went wrong is above")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what was taken; what is left at the end of the grace hears that the server stops."""
        late = asyncio.get_running_loop().call_later(self.grace, self.app.state.give_up)
        await super().shutdown(sockets)
        late.cancel()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        if self.started:
            self.told(self.address)


def _listen(options: ServeOptions) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        return socket.create_server((options.host, options.port), family=family, backlog=WAITING_CONNECTIONS)
    except (OSError, OverflowError) as error:
        raise KvorumError(f"cannot listen on {options.host} port {options.port}: {error}") from None
