"""A fuzzer that is led by which lines of kvorum a file reaches.

`python -m tests.faults.led_by_coverage TARGET CORPUS SECONDS` ends with status 0 if every file was read or refused by a
`KvorumError` that names it, in less than 20 seconds and 2 GB (torch and the fuzzer themselves take one).
"""

import shutil
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["kvorum", "yaml", "jinja2"]):
    from tests.faults.targets import TARGETS, outcome


def main() -> None:
    name, corpus, seconds = sys.argv[1:4]
    target = TARGETS[name]
    folder = Path(tempfile.mkdtemp(prefix="kvorum-fuzz-"))

    def tried(content: bytes) -> None:
        file = folder / target.name
        file.write_bytes(content)
        said = outcome(target, file)
        assert not said or target.names(said), said

    flags = [f"-max_total_time={seconds}", "-timeout=20", "-rss_limit_mb=2048", "-max_len=4096", "-seed=1"]
    atheris.Setup([sys.argv[0], *flags, corpus], tried)
    try:
        atheris.Fuzz()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
