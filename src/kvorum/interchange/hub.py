"""A run's ensemble onto the Hugging Face hub, with a model card."""

import logging
import re
import tempfile
from pathlib import Path

from kvorum.errors import KvorumError
from kvorum.interchange.card import model_card
from kvorum.interchange.hub_errors import hub_errors
from kvorum.interchange.peft_export import member_names, taken, write_ensemble
from kvorum.run import Run

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*")

log = logging.getLogger(__name__)


def push(
    run: Run, repository: str, *, private: bool = False, epoch: int | str = "last", trust_remote_code: bool = False
) -> str:
    """Put the members after an epoch into a repository `user/name` on the hub, and return its address.

    The repository is made where there is none; members of an earlier push that are no longer there are removed from it.

    Raises `KvorumError` for a name that cannot be one, without a token, and for whatever the hub refuses.
    """
    import huggingface_hub
    from huggingface_hub.utils import validate_repo_id

    if not REPOSITORY.fullmatch(repository):
        raise KvorumError(f"'{repository[:100]}' is no name of a repository; expected user/name")
    with hub_errors(f"'{repository[:100]}' is no name of a repository"):
        validate_repo_id(repository)
    if not huggingface_hub.get_token():
        raise KvorumError("there is no token for the hub; log in with: hf auth login, or set HF_TOKEN")
    stack, about, modules = taken(run, epoch, trust_remote_code=trust_remote_code)
    about = about.for_others()
    if about.model is None:
        log.warning("the base model has no name on the hub, so whoever loads the ensemble must name it with base")
    card = model_card(run, about, member_names(stack), repository, stack.rank)
    with tempfile.TemporaryDirectory(prefix="kvorum-") as temporary:
        written = write_ensemble(Path(temporary) / "ensemble", stack, about, modules, card)
        api = huggingface_hub.HfApi()
        with hub_errors(f"{repository} could not be pushed"):
            address = str(api.create_repo(repository, private=private or None, exist_ok=True))
            if private and not api.repo_info(repository).private:
                raise KvorumError(
                    f"{repository} is there already, and public; make it private first, or push elsewhere"
                )
            api.upload_folder(
                repo_id=repository,
                folder_path=written.folder,
                commit_message=f"{len(written.members)} LoRA adapters after epoch {about.epoch}",
                delete_patterns=["member-*/*"],
            )
    return address
