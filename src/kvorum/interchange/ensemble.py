"""kvorum.json beside the members' folders: what PEFT's files cannot say of an ensemble."""

import json
import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kvorum.bounded import CONTROLS, read_bounded
from kvorum.config import describe_errors
from kvorum.engine.base_model import SMOLLM2
from kvorum.engine.quantised import Quantize
from kvorum.errors import KvorumError

NAME = "kvorum.json"
LARGEST = 2**20
"""Bytes of it; a prompt template is most of them."""
HUB_NAMES = {SMOLLM2: "HuggingFaceTB/SmolLM2-135M-Instruct"}
"""Base models that have a name of their own here, and where others find them."""
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}")
BARE = re.compile(r"[A-Za-z0-9][\w.-]{0,95}")
"""An old id such as gpt2, which a folder may be called, too."""
COMMIT = re.compile(r"[0-9a-f]{40}")


class Ensemble(BaseModel):
    """What an ensemble was fitted on and how questions are put to it."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    format: Literal["kvorum ensemble 1"] = "kvorum ensemble 1"
    model: str | None = Field(None, max_length=4000)
    """The base model as kvorum names it; None where its name means nothing elsewhere."""
    base_revision: str | None = Field(None, max_length=200)
    quantize: Quantize = "off"
    """How the base model was held."""
    answer_format: Literal["letter", "text"]
    normalisation: Literal["sum", "mean"]
    prompt_template: str
    chat: bool
    fitted_on: str | None = Field(None, max_length=4000)
    epoch: int | None = None
    kvorum: str | None = Field(None, max_length=200)
    """The version that wrote it."""

    @property
    def base_for_others(self) -> str | None:
        """The base model under the name that other libraries load it by."""
        return HUB_NAMES.get(self.model, self.model) if self.model else None

    @property
    def base_on_hub(self) -> str | None:
        """Its id on the hub, where it has one."""
        name = self.base_for_others
        if not name or Path(name).exists():
            return None
        # A model in a folder has a fingerprint; only one from the hub has a commit.
        bare = BARE.fullmatch(name) and COMMIT.fullmatch(self.base_revision or "")
        return name if bare or HUB_ID.fullmatch(name) else None

    @property
    def base_commit(self) -> str | None:
        """The hub's commit of the base model, where the revision is one."""
        return self.base_revision if self.base_on_hub and COMMIT.fullmatch(self.base_revision or "") else None

    def for_others(self) -> "Ensemble":
        """The same without a base model's name that means nothing elsewhere and tells of the disk here."""
        return self if self.model in HUB_NAMES or self.base_on_hub else self.model_copy(update={"model": None})

    def text(self) -> str:
        """The content of the file."""
        return json.dumps(self.model_dump(), indent=2) + "\n"

    @classmethod
    def read(cls, folder: Path, where: str) -> "Ensemble | None":
        """What the file in a folder says; None where there is none. Errors begin with `where`.

        Raises `KvorumError` for a file that is damaged or something else.
        """
        file = f"{where}, {NAME}"
        try:
            content = json.loads(read_bounded(folder / NAME, LARGEST))
        except FileNotFoundError:
            return None
        except KvorumError:
            raise
        except OSError as error:
            raise KvorumError(f"{file}: cannot be read ({error.strerror or error})") from None
        except (ValueError, RecursionError):
            raise KvorumError(f"{file}: is no JSON") from None
        try:
            found = cls.model_validate(content)
        except ValidationError as error:
            raise KvorumError(f"{file}: {describe_errors(error)}") from None
        for value in (found.model, found.base_revision, found.fitted_on, found.kvorum):
            if value and CONTROLS.search(value):
                raise KvorumError(f"{file}: {value[:60]!r} holds control characters")
        return found
