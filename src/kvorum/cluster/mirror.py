"""A run directory and its copy on storage: what is saved here is there, too."""

import dataclasses
import logging
import secrets
import tempfile
from pathlib import Path

from kvorum.cluster.refusals import TakenOver
from kvorum.cluster.storage import Storage
from kvorum.errors import KvorumError
from kvorum.files import make_folder, remove
from kvorum.run.directory import OWNER
from kvorum.run.manifest import NAME, DamagedManifest, Manifest

log = logging.getLogger(__name__)


class Mirror:
    """A run directory on this machine, and its copy on storage.

    The copy's manifest is written after the files that it lists and before others are removed: so whenever a machine
    dies, what the manifest lists is there. Who takes up the copy owns it, by a token in the file `owner`, and whoever
    wrote before may not go on.
    """

    def __init__(self, folder: Path, storage: Storage) -> None:
        self.folder = folder
        self.storage = storage
        self.token = secrets.token_hex(16)
        self.there = Manifest(folder)
        """What the copy lists."""

    def take_up(self) -> None:
        """Own the copy, and bring what it holds here, in place of what is here."""
        self.own()
        self.fetch()

    def own(self) -> None:
        """Own the copy: whoever did before may not write any more."""
        self.storage.write(OWNER, self.token.encode())

    def fetch(self) -> int:
        """Bring what the copy holds here, the manifest last, and remove what it holds no more; how many files came.

        What differs from its seal on the storage is found when the run is opened.
        """
        self.there = self.listed()
        if not self.there.files:
            return 0
        make_folder(self.folder)
        before = Manifest.read(self.folder).files
        missing = {damage.file for damage in self.there.damage()}
        for name in sorted(missing):
            try:
                self.storage.fetch(name, self.folder / name)
            except FileNotFoundError:
                log.warning("%s: %s is missing", self.storage, name)
        self.there.write()
        for name in before.keys() - self.there.files.keys():
            remove(self.folder / name)
        return len(missing)

    def listed(self) -> Manifest:
        """The copy's manifest; an empty one where there is none.

        Raises `KvorumError`, by the name of the storage, for one that is damaged.
        """
        content = self.storage.read(NAME)
        if content is None:
            return Manifest(self.folder)
        with tempfile.TemporaryDirectory(prefix="kvorum-") as beside:
            (Path(beside) / NAME).write_bytes(content)
            try:
                return dataclasses.replace(Manifest.read(Path(beside)), folder=self.folder)
            except DamagedManifest:
                raise KvorumError(
                    f"{self.storage}/{NAME}: is damaged, so nothing vouches for the files there; put it back as it "
                    f"was, or remove {self.storage}"
                ) from None
            except KvorumError as error:
                raise KvorumError(str(error).replace(beside, str(self.storage))) from None

    def send(self) -> None:
        """Make the copy what is here.

        Raises `TakenOver` where somebody else owns it by now.
        """
        here = Manifest.read(self.folder)
        # Some files, the log above all, have the same name whoever writes them.
        self._refuse_taken_over()
        for name, seal in here.files.items():
            if self.there.files.get(name) != seal:
                self.storage.send(self.folder / name, name, seal.bytes)
        self._refuse_taken_over()
        self.storage.send(self.folder / NAME, NAME)
        gone = self.there.files.keys() - here.files.keys()
        self.there = here
        if gone:
            self._refuse_taken_over()
        for name in sorted(gone):
            self.storage.remove(name)

    def _refuse_taken_over(self) -> None:
        if self.storage.read(OWNER) != self.token.encode():
            raise TakenOver(f"{self.storage}: another worker goes on with this; what was saved before is whole")
