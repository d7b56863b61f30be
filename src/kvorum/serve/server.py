"""Listening with a posterior, and stopping."""

import asyncio
import logging
import math
import socket
from collections.abc import Callable

from kvorum.serve.app import build_app
from kvorum.serve.listening import ListeningServer, ended_by_signals
from kvorum.serve.options import ServeOptions
from kvorum.serve.served import Served

log = logging.getLogger(__name__)


def serve(served: Served, options: ServeOptions | None = None, *, told: Callable[[str], None] = log.info) -> None:
    """Answer until SIGINT or SIGTERM; then finish what was taken, and return.

    `told` is given the address once it answers. Raises `KvorumError` where it cannot listen, and for an address beyond
    loopback without tokens.
    """
    server = Server(served, options or ServeOptions(), told)
    with ended_by_signals(server):
        server.serve_until_stopped()


class Server(ListeningServer):
    """One that answers from a posterior."""

    def __init__(self, served: Served, options: ServeOptions, told: Callable[[str], None] = log.info) -> None:
        tokens = options.accepted()
        self.grace = options.grace
        self.app = build_app(served, options, tokens)
        super().__init__(self.app, options.host, options.port, patience=math.ceil(options.grace) + 5, told=told)

    def serve_until_stopped(self) -> None:
        """Answer until a signal, or `should_exit`."""
        # Before uvicorn's own start, which would end the process with a trace where the model cannot be set up.
        with self.listening:
            self.app.state.start()
            super().serve_until_stopped()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what was taken; what is left at the end of the grace hears that the server stops."""
        late = asyncio.get_running_loop().call_later(self.grace, self.app.state.give_up)
        await super().shutdown(sockets)
        late.cancel()
