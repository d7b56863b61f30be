"""Why a worker leaves work alone though the work itself is fine."""

from kvorum.errors import KvorumError


class NotHere(KvorumError):
    """What cannot be done on this machine, and may be on another."""


class TakenOver(KvorumError):
    """Somebody else goes on with what we were writing."""
