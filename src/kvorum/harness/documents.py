"""Which requests of the harness belong together: the candidates of one document."""

import json
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from lm_eval.utils import handle_non_serializable, hash_string

from kvorum.errors import KvorumError

Request = Any
"""An `lm_eval.api.instance.Instance`."""


@dataclass
class Document:
    """A document's candidates, each once, and where among the requests each of them is asked for."""

    requests: list[Request]
    places: list[list[int]]
    unconditional: bool
    """Whether these are the choices without their question, which some tasks ask for beside the document proper."""

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Context and continuation of each candidate."""
        return [request.args for request in self.requests]

    def as_dict(self) -> dict[str, Any]:
        """What tells it from others: the hash is that of the harness's own samples."""
        first = self.requests[0]
        doc = json.dumps(first.doc, indent=2, default=handle_non_serializable, ensure_ascii=False)
        return {"task": first.task_name, "doc_id": first.doc_id, "doc_hash": hash_string(doc)}


def documents(requests: Sequence[Request]) -> list[Document]:
    """The documents in the order of their first requests.

    Requests of one task and document are its candidates, whether they differ in continuation or in context; those that
    do not say where they come from belong together by their context.

    Raises `KvorumError` for requests with images or audio.
    """
    asked_of: dict[Hashable, bool] = {}
    for request in requests:
        if len(request.args) != 2:
            raise KvorumError(f"task '{request.task_name}' comes with images or audio; kvorum reads text alone")
        asked_of[_whose(request)] = asked_of.get(_whose(request), False) or bool(request.args[0])
    found: dict[Hashable, Document] = {}
    seen: dict[Hashable, int] = {}
    for place, request in enumerate(requests):
        # Some tasks ask for the choices without their question besides, and those are no candidates of it.
        without = not request.args[0] and asked_of[_whose(request)]
        key = (_whose(request), without)
        document = found.setdefault(key, Document([], [], without))
        candidate = (key, request.idx, *request.args)
        if candidate not in seen:
            seen[candidate] = len(document.requests)
            document.requests.append(request)
            document.places.append([])
        document.places[seen[candidate]].append(place)
    return list(found.values())


def _whose(request: Request) -> Hashable:
    if request.task_name is None or request.doc_id is None:
        return request.args[0]
    return request.task_name, request.doc_id
