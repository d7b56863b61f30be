"""The model class that lm-evaluation-harness calls: `--model kvorum --model_args run=RUN`."""

import contextlib
import json
import logging
import time
import weakref
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import torch
from lm_eval.api.model import TemplateLM
from lm_eval.utils import simple_parse_args_string
from tqdm import tqdm

from kvorum.errors import KvorumError, nearest
from kvorum.harness.answers import Answer
from kvorum.harness.documents import Document, Request, documents
from kvorum.posterior.posterior import Posterior, load
from kvorum.run import Run
from kvorum.tasks import EncodedQuestion

FOLDER = "lm_eval"
ARGUMENTS = ("run", "epoch", "device", "log", "trust_remote_code")
MEANS = ("predictive_entropy", "expected_entropy", "mutual_information")

log = logging.getLogger(__name__)


class EnsembleLM(TemplateLM):
    """A run's ensemble, for tasks of multiple choice.

    The harness gets each candidate's value by the ensemble's mean (`Answer.values`); each document's entropies and
    mutual information go to a log, a line of JSON each.
    """

    def __init__(
        self,
        run: str | Path = "",
        epoch: int | str = "last",
        device: str | None = None,
        log: str | Path | None = None,
        trust_remote_code: bool = False,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
        **unknown: Any,
    ) -> None:
        """Load a run's ensemble.

        `log` is where the uncertainties go, by default a new file in RUN/lm_eval. Sizes of batches, which the harness
        always gives, are not used: the run's token budget decides.
        """
        super().__init__()
        if unknown:
            name = next(iter(unknown))
            raise KvorumError(f"model_args: there is no '{name}'{nearest(name, ARGUMENTS)}")
        if not run:
            raise KvorumError("model_args: which run? --model_args run=runs/NAME")
        self.opened = Run.open(str(run))
        self.posterior: Posterior = load(
            self.opened, str(epoch), device=_device(device), trust_remote_code=trust_remote_code
        )
        self.tokenizer = self.posterior.base.tokenizer
        self._device = self.posterior.base.device
        self.log = _log_file(self.opened, log)
        weakref.finalize(self, _remove_if_empty, self.log)
        self.uncertainty: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        """Of each task's documents, in the order in which they were answered."""

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: dict[str, Any], additional_config: dict[str, Any] | None = None
    ) -> "EnsembleLM":
        """A model from model_args; what they say wins over the harness's own flags, some of which it always gives."""
        flags = {name: value for name, value in (additional_config or {}).items() if value is not None}
        return cls(**flags | arg_dict)

    @classmethod
    def create_from_arg_string(cls, arg_string: str, additional_config: dict[str, Any] | None = None) -> "EnsembleLM":
        """The same, from one text."""
        return cls.create_from_arg_obj(simple_parse_args_string(arg_string), additional_config)

    def set_cache_hook(self, cache_hook: Any) -> None:
        """Refused: --use_cache keeps candidates one by one, and here a candidate's value depends on the others.

        Raises `KvorumError`.
        """
        raise KvorumError(
            "--use_cache keeps single candidates, but a candidate's value here depends on the document's other "
            "candidates, so that what is kept would be wrong beside others; leave it out"
        )

    def loglikelihood(self, requests: list[Request], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Of every request the value of its candidate, and whether most members would say it, greedily.

        Raises `KvorumError` for a continuation without tokens, or one longer than the model's context.
        """
        if not requests:
            return []
        asked = documents(requests)
        answers = self._answers(asked, disable_tqdm)
        found: list[tuple[float, bool]] = [(0.0, False)] * len(requests)
        for document, answer in zip(asked, answers, strict=True):
            for places, value, greedy in zip(document.places, answer.values, answer.would_say, strict=True):
                for place in places:
                    found[place] = (value, greedy)
        self._write([(d, a) for d, a in zip(asked, answers, strict=True) if not d.unconditional])
        return found

    def _answers(self, asked: Sequence[Document], disable_tqdm: bool) -> list[Answer]:
        """Every document's answer; candidates of one context share its tokens, others are questions of their own."""
        encoded: list[EncodedQuestion] = []
        places: list[list[tuple[int, int]]] = []
        cut = 0
        for document in tqdm(asked, desc="tokenizing", disable=disable_tqdm):
            of_context: dict[tuple[int, ...], list[tuple[int, tuple[int, ...]]]] = defaultdict(list)
            for number, pair in enumerate(document.pairs):
                context, continuation, shortened = self._tokens(*pair)
                of_context[context].append((number, continuation))
                cut += shortened
            where: dict[int, tuple[int, int]] = {}
            for context, candidates in of_context.items():
                where |= {number: (len(encoded), column) for column, (number, _) in enumerate(candidates)}
                encoded.append(EncodedQuestion(context, tuple(tokens for _, tokens in candidates), None))
            places.append([where[number] for number in range(len(document.requests))])
        if cut:
            log.warning("%d contexts are longer than the model takes, and lose their beginning, as with hf", cut)
        with tqdm(total=len(encoded), desc="scoring", disable=disable_tqdm) as bar:

            def scored(done: int, total: int) -> None:
                bar.update(done - bar.n)

            with self.posterior.scoring(encoded) as scorer:
                scores, greedy = scorer.log_likelihoods(encoded, scored)
        # What lies beyond a question's last candidate is -inf, and no NaN.
        finite = ~np.isnan(scores).any(axis=(1, 2))
        if not finite.any():
            raise KvorumError("no member's likelihoods are finite, so nothing can answer; fit with a lower --lr")
        if not finite.all():
            log.warning("%d members are left out: their likelihoods are not finite", int((~finite).sum()))
        scores, greedy = scores[finite], greedy[finite]
        picked = [tuple(np.array(of).T) for of in places]
        return [Answer(scores[:, rows, columns], greedy[:, rows, columns]) for rows, columns in picked]

    def _tokens(self, context: str, continuation: str) -> tuple[tuple[int, ...], tuple[int, ...], bool]:
        """The tokens of a context and of what follows it, just as the harness's hf model reads them.

        An empty context is the token that begins a text; blanks at a context's end go over to the continuation.
        """
        if context:
            before, after = self._encode_pair(context, continuation)
        else:
            after = self.tok_encode(continuation, add_special_tokens=False)
            begins = bool(after) and after[0] == self.prefix_token_id
            before, after = (after[:1], after[1:]) if begins else ([self.prefix_token_id], after)
        most = self.posterior.base.max_length
        if not 0 < len(after) <= most:
            raise KvorumError(
                f"the continuation {continuation[:60]!r} is {len(after)} tokens long; expected 1 to {most}"
            )
        # The last token is never fed.
        over = max(0, len(before) + len(after) - (most + 1))
        return tuple(before[over:]), tuple(after), over > 0

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """A text's tokens; a text that begins with its own BOS, as from a chat template, gets no second one."""
        tokenizer: Any = self.tokenizer
        if add_special_tokens is None and string.startswith(tokenizer.decode(self.prefix_token_id)):
            add_special_tokens = False
        special = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        return tokenizer.encode(string, **special)

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        return self.posterior.base.tokenizer.eos_token_id

    @property
    def prefix_token_id(self) -> int:
        """The token that stands for an empty context."""
        bos = self.posterior.base.tokenizer.bos_token_id
        return self.eot_token_id if bos is None else bos

    @property
    def tokenizer_name(self) -> str:
        """By which the harness keeps cached requests apart."""
        return str(self.posterior.base.tokenizer.name_or_path).replace("/", "__")

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The prompt that the tokenizer's own template makes of a conversation.

        Raises `KvorumError` where the tokenizer has none, or the template refuses the conversation.
        """
        tokenizer = self.posterior.base.tokenizer
        if not getattr(tokenizer, "chat_template", None):
            raise KvorumError("--apply_chat_template: this model's tokenizer has no chat template; leave it out")
        try:
            return tokenizer.apply_chat_template(
                chat_history,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
            )
        except jinja2.TemplateError as error:
            raise KvorumError(f"--apply_chat_template: the tokenizer's chat template fails ({error})") from error

    def loglikelihood_rolling(self, requests: list[Request], disable_tqdm: bool = False) -> list[float]:
        """Not offered."""
        raise NotImplementedError(
            "kvorum scores multiple choice; a text's perplexity (loglikelihood_rolling) it does not"
        )

    def generate_until(self, requests: list[Request], disable_tqdm: bool = False) -> list[str]:
        """Not offered."""
        raise NotImplementedError("kvorum scores multiple choice; it generates no text (generate_until)")

    def _loglikelihood_tokens(self, requests: Any, **_: Any) -> list[tuple[float, bool]]:
        raise NotImplementedError("candidates are scored by document: call loglikelihood")

    def get_model_info(self) -> dict[str, Any]:
        """What goes into the harness's results: the run, and each task's mean uncertainties, in nats."""
        means = {
            task: {name: float(np.mean(values)) for name, values in found.items()}
            for task, found in self.uncertainty.items()
        }
        return {
            "kvorum_run": str(self.opened.path),
            "kvorum_epoch": self.posterior.facts.get("epoch"),
            "kvorum_members": len(self.posterior.stack.active),
            "kvorum_log": str(self.log),
            "kvorum_uncertainty": means,
            "model_num_parameters": self.posterior.base.parameters,
        }

    def _write(self, answered: Sequence[tuple[Document, Answer]]) -> None:
        with self.log.open("a", encoding="utf-8") as file:
            for document, answer in answered:
                found = answer.as_dict()
                about = document.as_dict()
                file.write(json.dumps(about | found, ensure_ascii=False) + "\n")
                for name in MEANS:
                    self.uncertainty[str(about["task"])][name].append(found[name])
        log.info("entropy and mutual information of %d documents: %s", len(answered), self.log)


def _device(asked: str | None) -> str:
    """The harness asks for cuda:0 where nothing else is said, also where there is no GPU."""
    if asked and asked.startswith("cuda") and not torch.cuda.is_available():
        log.info("device %s is not there; the run's own is taken", asked)
        return "auto"
    return asked or "auto"


def _remove_if_empty(file: Path) -> None:
    """Let go of the log of an evaluation that has failed before it had a line."""
    with contextlib.suppress(OSError):
        if not file.stat().st_size:
            file.unlink()


def _log_file(run: Run, asked: str | Path | None) -> Path:
    """A new file for the uncertainties, there from now on, so that a full disk or a wrong path shows before scoring."""
    name = time.strftime("%Y-%m-%dT%H-%M-%S")
    wanted = [Path(asked)] if asked else [run.path / FOLDER / f"{name}{more}.jsonl" for more in ("", "-2", "-3", "-4")]
    wanted[0].parent.mkdir(parents=True, exist_ok=True)
    for file in wanted:
        try:
            file.open("x").close()
            return file
        except FileExistsError:
            continue
    raise KvorumError(f"{wanted[-1]}: is there already; name another file with log=FILE")
