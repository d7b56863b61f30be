"""A process that has imported everything once, and forks a child for every fit it is asked for.

It reads a request a line from its standard input, and answers each with a line: how the child ended.
"""

import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import kvorum
from kvorum.posterior import fit as _  # noqa: F401 - what takes long is imported before the first fork
from tests.faults.faulty_disk import FaultyDisk


def work(request: dict[str, Any]) -> int:
    import logging

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if "user" in request:
        # Python itself may lie where that user cannot read: what is imported on the way is imported now.
        kvorum.fit(request["model"], request["task"], **(request["settings"] | {"epochs": 1}))
        os.setgid(request["user"])
        os.setuid(request["user"])
    disk = FaultyDisk(Path(request["out"]), **request.get("fault", {}))
    if "fault" in request:
        disk.install()
    try:
        kvorum.fit(request["model"], request["task"], out=request["out"], **request["settings"])
    except kvorum.KvorumError as error:
        print(f"KvorumError: {error}")
        return 2
    except OSError as error:
        print(f"OSError: {error}")
        return 1
    except KeyboardInterrupt as stop:
        print(f"{type(stop).__name__}: {stop}")
        return 128 + getattr(stop, "signal", 2)
    finally:
        if "counted" in request:
            Path(request["counted"]).write_text(str(disk.count))
    return 0


def forked(request: dict[str, Any]) -> int:
    child = os.fork()
    if child:
        return child
    # A shell's background leaves SIGINT ignored, and a child would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    said = os.open(request["said"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 1)
    os.dup2(said, 2)
    status = 99
    try:
        status = work(request)
    except BaseException:  # noqa: BLE001 - the parent reads what it was
        traceback.print_exc()
    sys.stdout.flush()
    os._exit(status)


def wait(child: int, request: dict[str, Any]) -> int:
    """The child's exit status, negative for the signal that ended it; signals are sent to it when they are due."""
    begun = time.monotonic()
    for number, seconds in request.get("signals", []):
        while time.monotonic() - begun < seconds:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.001)
        os.kill(child, number)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> None:
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        begun = time.monotonic()
        child = forked(request)
        status = wait(child, request)
        print(json.dumps({"pid": child, "status": status, "seconds": time.monotonic() - begun}), flush=True)


if __name__ == "__main__":
    main()
