"""Listening, and stopping."""

import logging
import socket
from collections.abc import Callable

import uvicorn

from kvorum.errors import KvorumError
from kvorum.serve.app import build_app
from kvorum.serve.options import ServeOptions
from kvorum.serve.served import Served

log = logging.getLogger(__name__)

WAITING_CONNECTIONS = 2048


def serve(served: Served, options: ServeOptions | None = None, *, told: Callable[[str], None] = log.info) -> None:
    """Answer until SIGINT or SIGTERM; then finish what was taken, and return.

    `told` is given the address once it answers. Raises `KvorumError` where it cannot listen, and for an address beyond
    loopback without tokens.
    """
    options = options or ServeOptions()
    tokens = options.accepted()
    listening = _listen(options)
    app = build_app(served, options, tokens)
    server = _Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=round(options.grace),
            timeout_keep_alive=30,
            backlog=WAITING_CONNECTIONS,
            lifespan="on",
        )
    )
    host, port = listening.getsockname()[:2]
    server.told = lambda: told(f"http://{f'[{host}]' if ':' in host else host}:{port}")
    with listening:
        server.run(sockets=[listening])
    if not server.started:
        raise KvorumError("the server did not start; what went wrong is above")


class _Server(uvicorn.Server):
    """One that says when it answers."""

    told: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        if self.started:
            self.told()


def _listen(options: ServeOptions) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        return socket.create_server((options.host, options.port), family=family, backlog=WAITING_CONNECTIONS)
    except (OSError, OverflowError) as error:
        raise KvorumError(f"cannot listen on {options.host} port {options.port}: {error}") from None
