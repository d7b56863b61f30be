"""What stands before the application: who may ask, under which name, and how much may be sent."""

import asyncio
import hashlib
import hmac
import json
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

log = logging.getLogger(__name__)

PUBLIC = ("/", "/health")
"""Without a token: the page, which holds nothing of the run, and whether the server lives."""
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})


METHODS = ("GET", "HEAD", "POST")
"""That are counted by their names; of others there is no end."""


class Guard:
    """An ASGI application around another."""

    def __init__(
        self,
        app: App,
        *,
        max_body: int,
        time_limit: float,
        names: frozenset[str] | None = LOCAL_NAMES,
        tokens: tuple[str, ...] = (),
        told: Callable[[str, str, int, float], None] = lambda method, route, status, seconds: None,
    ) -> None:
        self.app = app
        self.max_body = max_body
        """Bytes."""
        self.time_limit = time_limit
        """Seconds in which a body must have come."""
        self.names = names
        """That a request may give the server, None: any. A page elsewhere can point a name of its own at loopback."""
        self.told = told
        """Of every reply: method, route, status, seconds."""
        # By digest, so that neither a token's length nor its place in the file shows in the time taken.
        self.digests = [hashlib.sha256(token.encode()).digest() for token in tokens]

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Pass on what may pass, and count it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.monotonic(), 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), (b"x-content-type-options", b"nosniff")]
            await send(message)

        try:
            await self._pass_on(scope, receive, noting)
        except Exception as error:  # whatever it is, a client gets no trace, and the log has it
            log.error("%s %s failed", scope["method"], scope["path"], exc_info=error)
            if not status:
                await _refuse(noting, 500, "internal", "the server has failed; its log says how", None)
        # By the route, since of paths there is no end.
        route = getattr(scope.get("route"), "path", "other")
        self.told(scope["method"] if scope["method"] in METHODS else "other", route, status, time.monotonic() - began)

    async def _pass_on(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        headers = {name.lower(): value for name, value in scope["headers"]}
        hosts = [_host(value) for name, value in scope["headers"] if name.lower() == b"host"]
        if self.names is not None and not (len(hosts) == 1 and hosts[0] in self.names):
            await _refuse(send, 403, "host", "the request is for another host than this server", "Host")
        elif self.digests and scope["path"] not in PUBLIC and not self._knows(headers.get(b"authorization", b"")):
            await _refuse(
                send,
                401,
                "unauthorized",
                "send one of the server's tokens: Authorization: Bearer TOKEN",
                "Authorization",
                [(b"www-authenticate", b"Bearer")],
            )
        else:
            await self._bounded(scope, headers, receive, send)

    def _knows(self, authorization: bytes) -> bool:
        scheme, _, token = authorization.partition(b" ")
        digest = hashlib.sha256(token.strip()).digest()
        matches = [hmac.compare_digest(digest, known) for known in self.digests]
        return scheme.lower() == b"bearer" and any(matches)

    async def _bounded(
        self, scope: MutableMapping[str, Any], headers: dict[bytes, bytes], receive: Receive, send: Send
    ) -> None:
        most = self.max_body
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > most:
            await _refuse(send, 413, "too_large", f"the body is longer than {most:,} bytes", "body")
            return
        parts, size, more = [], 0, True
        try:
            async with asyncio.timeout(self.time_limit):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    more = message.get("more_body", False)
                    if size > most:
                        await _refuse(send, 413, "too_large", f"the body is longer than {most:,} bytes", "body")
                        return
        except TimeoutError:
            await _refuse(send, 408, "timeout", "the body did not arrive in time", "body")
            return
        whole: list[Message] = [{"type": "http.request", "body": b"".join(parts), "more_body": False}]

        async def replay() -> Message:
            return whole.pop() if whole else await receive()

        await self.app(scope, replay, send)


def _host(value: bytes) -> str:
    """The name in a Host header, without the port."""
    text = value.decode("latin-1").strip().lower()
    if text.startswith("["):
        return text.partition("]")[0] + "]"
    return text.rpartition(":")[0] if ":" in text else text


async def _refuse(
    send: Send,
    status: int,
    code: str,
    message: str,
    field: str | None,
    headers: list[tuple[bytes, bytes]] | None = None,
) -> None:
    body = json.dumps({"error": {"code": code, "message": message, "field": field}}).encode()
    own = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*own, *(headers or [])]})
    await send({"type": "http.response.body", "body": body})
