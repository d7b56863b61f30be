"""How a server listens and what it takes."""

import dataclasses
import ipaddress
from pathlib import Path
from typing import ClassVar

from pydantic import ConfigDict

from kvorum.bounded import read_bounded
from kvorum.errors import KvorumError

LARGEST_TOKENS_FILE = 2**20


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """How a server listens and what it takes."""

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    host: str = "127.0.0.1"
    """Address to listen on; anything but loopback needs --tokens, or --open."""
    port: int = 8000
    """Port to listen on; 0: any that is free."""
    tokens: Path | None = None
    """A file of bearer tokens, one a line, any of which a client must send."""
    open: bool = False
    """Listen beyond loopback without tokens: whoever reaches the port may ask."""

    queue: int = 512
    """Questions that may wait; beyond, a request is answered 429."""
    time_limit: float = 60.0
    """Seconds after which a request is answered 504."""
    max_body: int = 2**20
    """Bytes of a request's body."""
    max_questions: int = 64
    """Questions in a request."""
    max_choices: int = 26
    """Candidates of a question."""
    max_characters: int = 8000
    """Characters of a question, and of a candidate."""
    max_tokens: int = 2048
    """Tokens of a question with all its candidates, of one member."""
    grace: float = 30.0
    """Seconds that a stop waits for what has been taken on."""

    def __post_init__(self) -> None:
        for name in ("queue", "max_body", "max_questions", "max_characters", "max_tokens"):
            if getattr(self, name) < 1:
                raise KvorumError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.queue < self.max_questions:
            raise KvorumError(f"queue is {self.queue}; it must hold a request of max_questions, {self.max_questions}")
        if not 2 <= self.max_choices <= 10_000:
            raise KvorumError(f"max_choices is {self.max_choices}; it must be from 2 to 10000")
        if not 0 <= self.port < 2**16:
            raise KvorumError(f"port is {self.port}; it must be from 0 to 65535")
        for name in ("time_limit", "grace"):
            if not 0 < getattr(self, name) < 1e9:
                raise KvorumError(f"{name} is {getattr(self, name)}; it must be positive, in seconds")

    @property
    def loopback(self) -> bool:
        """Whether it can be reached from this machine alone."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def accepted(self) -> tuple[str, ...]:
        """The bearer tokens, none where everybody may ask.

        Raises `KvorumError` for a file that cannot be used, and for listening beyond loopback without tokens.
        """
        if self.tokens is None:
            if not self.loopback and not self.open:
                raise KvorumError(
                    f"host {self.host} can be reached from other machines; --tokens FILE lets in only who sends one of "
                    "them, and --open lets in everybody"
                )
            return ()
        return read_tokens(self.tokens)


def read_tokens(path: Path) -> tuple[str, ...]:
    """The tokens in a file, one a line; raises `KvorumError` where there is none, or one that no header can carry."""
    try:
        lines = read_bounded(path, LARGEST_TOKENS_FILE).decode("ascii").splitlines()
    except UnicodeDecodeError as error:
        raise KvorumError(f"{path}: byte {error.start} is no ASCII; tokens are ASCII without spaces") from None
    except OSError as error:
        raise KvorumError(f"{path}: cannot be read: {error.strerror}") from None
    tokens = tuple(line.strip() for line in lines if line.strip())
    if not tokens:
        raise KvorumError(f"{path}: holds no token; write one a line")
    for number, token in enumerate(tokens, start=1):
        if len(token) < 16 or not all("!" <= character <= "~" for character in token):
            raise KvorumError(f"{path}: token {number} is shorter than 16 characters or holds a space or a control")
    return tokens
