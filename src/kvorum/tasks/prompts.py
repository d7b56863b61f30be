"""From a question to the text a model reads: Jinja templates in a sandbox, two built in, any from a file."""

import functools
import logging
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import jinja2
import jinja2.meta
import jinja2.nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from kvorum.bounded import read_bounded
from kvorum.errors import KvorumError, nearest
from kvorum.tasks.question import Question
from kvorum.tasks.template_rules import LONGEST, refuse_unbounded

logger = logging.getLogger(__name__)

AnswerFormat = Literal["letter", "text"]

LETTERS = "abcdefghijklmnopqrstuvwxyz"

VARIABLES = ("question", "choices", "letters", "subject")

# The letter inside the last bracket is what the model is to say, so the prompt ends before it.
LETTER_TEMPLATE = """\
Q: {{ question }}
Answer Choices:
{% for choice in choices %}
({{ letters[loop.index0] }}) {{ choice }}
{% endfor %}
A: ("""

TEXT_TEMPLATE = """\
Question: {{ question }}
Answer:"""

LONGEST_PROMPT = 4_000_000
"""Characters; more than any model reads."""

FAILURES = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)

# A template is the user's, but often somebody else's file, and a question is data: neither may reach Python.
# Lines that hold only a block tag vanish, as in the tokenizers' own chat templates.
_ENVIRONMENT = ImmutableSandboxedEnvironment(
    undefined=jinja2.StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True
)
_ENVIRONMENT.globals.clear()  # range, lipsum and their like: nothing that a prompt needs


def default_template(answer_format: AnswerFormat) -> str:
    """The built-in template: the paper's for letters (arXiv 2402.12264), a plain question and answer for text."""
    return LETTER_TEMPLATE if answer_format == "letter" else TEXT_TEMPLATE


def load_template(path: str | Path) -> str:
    """The Jinja source in a file, checked; a newline at its very end is not part of the prompt.

    Raises KvorumError, with file and line, for a file that is no text, a syntax error or an unknown variable.
    """
    path = Path(path)
    try:
        source = read_bounded(path, 4 * LONGEST + 3).decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise KvorumError(f"{path}: the prompt template is not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise KvorumError(f"{path}: cannot read the prompt template: {error.strerror}") from error
    check_template(source, where=str(path))
    return source


def check_template(source: str, *, where: str) -> None:
    """Raise KvorumError, beginning with `where`, if the source is no template of a question's variables."""
    if not source.strip():
        raise KvorumError(f"{where}: the prompt template is empty; it is Jinja text of {_listed(VARIABLES)}")
    if len(source) > LONGEST:
        raise KvorumError(f"{where}: the prompt template has {len(source):,} characters; expected at most {LONGEST:,}")
    try:
        tree = _ENVIRONMENT.parse(source)
    except jinja2.TemplateSyntaxError as error:
        raise KvorumError(
            f"{where}, line {error.lineno}: the prompt template is not valid Jinja: {error.message}"
        ) from error
    except (RecursionError, ValueError) as error:
        raise KvorumError(f"{where}: the prompt template cannot be read as Jinja ({error})") from error
    try:
        refuse_unbounded(tree, where)
        _ENVIRONMENT.from_string(source)
    except KvorumError:
        raise
    except (jinja2.TemplateError, RecursionError, SyntaxError, ValueError) as error:
        raise KvorumError(f"{where}: the prompt template is not valid Jinja: {error}") from error
    used = jinja2.meta.find_undeclared_variables(tree)
    unknown = used - set(VARIABLES) - set(_ENVIRONMENT.globals)
    if unknown:
        line, name = min((node.lineno, node.name) for node in tree.find_all(jinja2.nodes.Name) if node.name in unknown)
        raise KvorumError(
            f"{where}, line {line}: the prompt template uses '{name}', which is no variable{nearest(name, VARIABLES)}"
        )
    if "question" not in used:
        logger.warning("%s: the prompt template never uses 'question', so the model will not read it", where)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:-1]) + " and " + names[-1]


@functools.lru_cache(maxsize=32)
def _compiled(source: str) -> jinja2.Template:
    return _ENVIRONMENT.from_string(source)


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """How a question is put to a model, and how its answer is read.

    Raises KvorumError on construction for a template that is not valid, and on rendering for one that fails.
    """

    answer_format: AnswerFormat
    template: str
    """Jinja source of `question`, `choices`, `letters` (one for each choice) and `subject`."""
    chat: bool = False
    """Whether the tokenizer's chat template is wrapped around the text (when it is encoded)."""

    def __post_init__(self) -> None:
        if self.answer_format not in get_args(AnswerFormat):
            raise KvorumError(
                f"answer format '{self.answer_format}' is unknown{nearest(self.answer_format, get_args(AnswerFormat))}"
            )
        check_template(self.template, where="prompt")

    def render(self, question: Question) -> str:
        """The text of the prompt, up to where the answer begins; without the chat template."""
        try:
            parts, length = [], 0
            for part in _compiled(self.template).generate(
                question=question.question,
                choices=list(question.choices),
                letters=list(LETTERS[: len(question.choices)]),
                subject=question.subject,
            ):
                parts.append(part)
                length += len(part)
                if length > LONGEST_PROMPT:
                    raise ValueError(f"its prompt is longer than {LONGEST_PROMPT:,} characters")
            return "".join(parts)
        except FAILURES as error:
            lines = [
                frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "<template>"
            ]
            line = f", line {lines[-1]}" if lines else ""
            raise KvorumError(
                f"the prompt template{line} fails on question '{question.id}', "
                f"which has {len(question.choices)} choices: {error}"
            ) from error
