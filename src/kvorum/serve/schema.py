"""What goes over the wire."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model

from kvorum.serve.options import ServeOptions
from kvorum.uncertainty.doubt import Doubt

SEEN = r"[^\s\x1c-\x1f\x85]"
"""A character that is no white space, which in Python is more than in other languages."""
QUESTION = {"id": "bees", "question": "What do bees make?", "choices": ["honey", "silk", "paper"]}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Asked(_Strict):
    """A question with its candidate answers."""

    id: str
    question: str
    choices: list[str]
    subject: str


class Request(_Strict):
    """One question or many."""

    questions: list[Asked]


class Member(BaseModel):
    """What one member says."""

    member: int
    vote: int = Field(description="Index of the choice that it finds most probable")
    probabilities: list[float] = Field(description="In the order of the choices")


class Entropies(BaseModel):
    """The doubt, split; in nats."""

    predictive: float = Field(description="All of it")
    expected: float = Field(description="What every member has of it: aleatoric")
    mutual_information: float = Field(description="What the members disagree on: epistemic")


class Decision(BaseModel):
    """What the run's calibration says."""

    answered: bool
    score: Doubt = Field(description="The score of doubt that decides")
    doubt: float = Field(description="Its value; higher = more uncertain")
    threshold: float = Field(description="Answered is what has at most this doubt")
    kind: Literal["confident", "torn", "disputed"]
    sets: dict[Literal["lac", "adaptive"], list[int]] = Field(
        description="Conformal answer sets: indices of choices that together hold the right one with 1 - alpha"
    )
    why: str


class Answer(BaseModel):
    """The ensemble's answer to a question, or that it gives none."""

    id: str
    answer: str | None = Field(description="The choice; null where it abstains")
    top: int = Field(description="Index of the most probable choice, answered or not")
    probabilities: list[float] = Field(description="Of the choices, in their order")
    rest: float = Field(description="Probability on everything that is no choice; 0 by text")
    entropy: Entropies
    members: list[Member]
    decision: Decision | None = Field(
        description="null where the run is not calibrated, and always answers; or where a member's probabilities are "
        "not finite, and it abstains",
    )


EXAMPLE = {
    "id": "bees",
    "answer": "honey",
    "top": 0,
    "probabilities": [0.91, 0.05, 0.04],
    "rest": 0.0,
    "entropy": {"predictive": 0.36, "expected": 0.33, "mutual_information": 0.03},
    "members": [
        {"member": 0, "vote": 0, "probabilities": [0.93, 0.04, 0.03]},
        {"member": 1, "vote": 0, "probabilities": [0.89, 0.06, 0.05]},
    ],
    "decision": {
        "answered": True,
        "score": "one_minus_top",
        "doubt": 0.09,
        "threshold": 0.35,
        "kind": "confident",
        "sets": {"lac": [0], "adaptive": [0]},
        "why": "Answered: 1 - top probability 0.09 is at most 0.35, so that at most 10% of the answers are wrong.",
    },
}


class Answers(BaseModel):
    """An answer for every question, in the order asked."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"answers": [EXAMPLE]}]})

    answers: list[Answer]


class ErrorBody(BaseModel):
    """What was wrong."""

    code: str
    message: str
    field: str | None = Field(default=None, description="The part of the request that is wrong")


class Error(BaseModel):
    """An error."""

    error: ErrorBody


class Health(BaseModel):
    """Whether it answers."""

    status: Literal["ok"]


class TaskOf(BaseModel):
    """A task whose questions the run holds."""

    task: str
    questions: int


class Described(BaseModel):
    """What runs here."""

    kvorum: str
    run: str | None
    model: str
    base_revision: str | None
    epoch: int | None
    fitted_on: str | None
    members: list[int]
    diverged: dict[str, str]
    answer_format: Literal["letter", "text"]
    prompt_template: str
    calibration: dict[str, Any] | None
    limits: dict[str, float]
    tasks: list[TaskOf]


class Example(BaseModel):
    """A question of a task that the run has scored."""

    id: str
    question: str
    choices: list[str]
    subject: str
    answer: int | None = Field(description="Index of the right choice, where it is known")


class Examples(BaseModel):
    """Some questions of a task."""

    task: str
    total: int
    questions: list[Example]


class Plane(BaseModel):
    """Where questions of known answers stand between entropy and mutual information, in nats."""

    task: str
    predictive_entropy: list[float]
    mutual_information: list[float]
    right: list[bool | None]
    entropy_cut: float
    mi_cut: float


def request_model(options: ServeOptions) -> type[Request]:
    """The request with a server's own limits, so that its OpenAPI tells them."""
    text = Annotated[str, Field(min_length=1, max_length=options.max_characters, pattern=SEEN)]
    choices = Annotated[
        list[text],
        Field(
            min_length=2,
            max_length=options.max_choices,
            json_schema_extra={"uniqueItems": True},
            description="The candidate answers, all different",
        ),
        AfterValidator(_all_different),
    ]
    subject = Annotated[str, Field(max_length=options.max_characters, description="For prompts that name one")]
    fields: dict[str, Any] = {
        "id": (Annotated[str, Field(max_length=200, description="Comes back with the answer")], ""),
        "question": (text, ...),
        "choices": (choices, ...),
        "subject": (subject, ""),
    }
    asked = create_model("Question", __base__=Asked, __doc__=Asked.__doc__, **fields)
    asked.model_config["json_schema_extra"] = {"examples": [QUESTION]}
    questions: Any = Annotated[
        list[asked],
        Field(min_length=1, max_length=options.max_questions, examples=[[QUESTION]]),
    ]
    whole: dict[str, Any] = {"questions": (questions, ...)}
    return create_model("Questions", __base__=Request, __doc__=Request.__doc__, **whole)


def _all_different(choices: list[str]) -> list[str]:
    for place, choice in enumerate(choices):
        if (first := choices.index(choice)) < place:
            raise ValueError(f"choices {first} and {place} (counted from 0) are the same")
    return choices
