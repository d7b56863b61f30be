import dataclasses

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvorum.errors import KvorumError
from kvorum.tasks import LETTERS, Prompt, Question, default_template, load_template
from kvorum.tasks.prompts import _ENVIRONMENT

QUESTION = Question(
    id="q1", question="Which is {{ 7 * 7 }} & <b>?", choices=("one", "{% raw %}", "  3"), answer=0, subject="maths"
)


def letter(template: str) -> Prompt:
    return Prompt(answer_format="letter", template=template)


def test_the_template_for_letters_is_the_papers():
    assert letter(default_template("letter")).render(QUESTION) == (
        "Q: Which is {{ 7 * 7 }} & <b>?\nAnswer Choices:\n(a) one\n(b) {% raw %}\n(c)   3\nA: ("
    )


def test_the_template_for_text():
    prompt = Prompt(answer_format="text", template=default_template("text"))
    assert prompt.render(QUESTION) == "Question: Which is {{ 7 * 7 }} & <b>?\nAnswer:"


@settings(deadline=None)
@given(st.text(min_size=1).filter(str.strip), st.lists(st.text(min_size=1).filter(str.strip), min_size=2, max_size=26))
def test_whatever_is_asked_goes_in_verbatim(question, choices):
    try:
        asked = Question(id="1", question=question, choices=tuple(choices))
    except KvorumError:
        return  # half a character
    expected = f"Q: {question}\nAnswer Choices:\n"
    for name, choice in zip(LETTERS, choices, strict=False):
        expected += f"({name}) {choice}\n"
    assert letter(default_template("letter")).render(asked) == expected + "A: ("


def test_a_file_replaces_it(tmp_path):
    path = tmp_path / "prompt.jinja"
    path.write_text("\ufeffÜber {{ subject }}:\n{{ question }}\n{{ letters | join('/') }}?\n", encoding="utf-8")
    assert letter(load_template(path)).render(QUESTION) == "Über maths:\nWhich is {{ 7 * 7 }} & <b>?\na/b/c?"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the prompt template is empty; it is Jinja text of question, choices, letters and subject"),
        (b"\n {{ question", "line 2: the prompt template is not valid Jinja: unexpected end"),
        (b"{% for choice in choices %}", "line 1: the prompt template is not valid Jinja"),
        (
            b"{{ question }}\n{{ question | nofilter }}",
            r"line 2: the filter 'nofilter' \(there are abs, .*, which a prompt template may not use",
        ),
        (b"{{ question }}\n\n{{ choces }}", r"line 3: the prompt template uses 'choces', .*; did you mean 'choices'\?"),
        (b"{{ context }}{{ answer }}", "line 1: the prompt template uses 'answer', which is no variable"),
        (b"\xff{{ question }}", r"not UTF-8 text \(byte 0\)"),
    ],
)
def test_a_bad_template_is_named_with_its_line(tmp_path, content, said):
    path = tmp_path / "prompt.jinja"
    path.write_bytes(content)
    with pytest.raises(KvorumError, match=said) as raised:
        load_template(path)
    assert str(raised.value).startswith(str(path))


def test_an_absent_template(tmp_path):
    with pytest.raises(KvorumError, match=r"none.jinja: cannot read the prompt template: No such file"):
        load_template(tmp_path / "none.jinja")
    with pytest.raises(KvorumError, match="cannot read the prompt template: Is a directory"):
        load_template(tmp_path)


def test_a_template_that_never_asks_is_told_of(caplog):
    letter("{{ choices }}")
    assert "never uses 'question'" in caplog.text


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (
            "{{ question }}\n{{ choices[7] }}",
            "line 2 fails on question 'q1', which has 3 choices: list object has no element 7",
        ),
        ("{{ question }}{{ question + 1 }}", "fails on question 'q1'"),
    ],
)
def test_a_template_that_fails_names_the_question(template, said):
    with pytest.raises(KvorumError, match=said):
        letter(template).render(QUESTION)


@pytest.mark.parametrize(
    "template",
    [
        "{{ question.__class__.__mro__ }}",
        "{{ question.__init__.__globals__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}{{ question }}",
        "{{ question.format.__self__.__class__ }}",
        "{{ '{0.__class__}'.format(question) }}",
        "{{ question }}{{ choices.append('x') }}",
        "{{ question }}{{ cycler.__init__.__globals__.os.system('true') }}",
    ],
)
def test_a_template_reaches_nothing_but_its_variables(template):
    with pytest.raises(KvorumError, match=r"prompt, line 1: .*, which a prompt template may not use"):
        letter(template)
    # And the sandbox behind the rules keeps it from what the rules would let through.
    with pytest.raises(jinja2.TemplateError):
        _ENVIRONMENT.from_string(template).render(question="q", choices=["a"], letters=["a"], subject="")


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'a' * 10**10 }}",
        "{{ question * 500 * 500 * 500 }}",
        "{{ 999 ** 999 }}",
        "{% set x = question ~ question %}{% set x = x ~ x %}{{ x }}",
        "{% for a in choices %}{% for b in choices %}{% for c in choices %}{% endfor %}{% endfor %}{% endfor %}",
        "{% for a in question %}{% for b in question %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{% endfor %}",
        "{{ question|list|join('0123456789')|list|join('0123456789') }}",
        "{{ '%999999999d' % 1 }}",
        "{{ question % 1 }}",
        "{{ question|center(999) }}",
        "{{ question.ljust(999) }}",
        "{{ question.replace('a', 'aaaaaaaaaa') }}",
        "{{ choices|map('center', 999)|list }}",
        "{% macro again() %}{{ again() }}{{ again() }}{% endmacro %}{{ again() }}",
        "{% for a in choices recursive %}{{ loop(choices) }}{% endfor %}",
        "{% block x %}{% endblock %}{{ self.x() }}",
        "{{ namespace(x=1) }}",
        "{{ lipsum(n=1000) }}",
        "{{ choices|random }}",
        "{{ question }}{% include 'other' %}",
        "{{ question }}{% for range in ['x'['center']] %}{{ range(999) }}{% endfor %}",
        "{% for question in choices %}{% endfor %}",
        "{% for a in [choices, choices] %}{% endfor %}",
        "{{ ['x'['center']][0](999) }}",
        "{{ lipsum }}{{ question }}",
        "{{ choices|join('" + "x" * 101 + "') }}",
        "{{ question " + "~ question " * 200 + "}}",
        "{{ question" + "|trim" * 8000 + " }}",
        "{{ question }}{{ 1" + "+1" * 8000 + " }}",
    ],
)
def test_a_template_cannot_ask_for_gigabytes_or_hours(template):
    with pytest.raises(KvorumError, match=r"prompt.*(may not use|each other|is no variable|at most|Jinja|recursion)"):
        letter(template)


def test_a_prompt_that_grows_without_end_is_not_rendered_to_its_end():
    many = dataclasses.replace(QUESTION, question="x" * 100_000, choices=tuple(str(i) for i in range(60)))
    with pytest.raises(KvorumError, match=r"fails on question 'q1'.*longer than 4,000,000 characters"):
        letter("{% for c in choices %}{{ question }}{% endfor %}").render(many)


def test_what_a_prompt_needs_is_there():
    prompt = letter(
        "{% if subject %}[{{ subject|upper }}] {% endif %}{{ question.strip() }}\n"
        "{% for choice in choices %}{% if not loop.first %}, {% endif %}{{ letters[loop.index0] }}: {{ choice|trim }}"
        "{% if loop.index % 2 == 0 %};{% endif %}{% endfor %} {{ letters|join('/') }} of {{ choices|length + 1 }}"
        "{% for letter in letters[:2] %}.{% endfor %}"
    )
    assert prompt.render(QUESTION) == ("[MATHS] Which is {{ 7 * 7 }} & <b>?\na: one, b: {% raw %};, c: 3 a/b/c of 4..")


def test_a_template_of_any_length_is_not_taken():
    with pytest.raises(KvorumError, match=r"has 70,014 characters; expected at most 65,536"):
        letter("{{ question }}" + "x" * 70_000)
    with pytest.raises(KvorumError, match="cannot be read as Jinja"):
        letter("{{ question }}{{ " + "(" * 20_000 + " }}")


def test_an_unknown_answer_format():
    # A type checker would refuse it, and in these tests one runs, so the check is reached from behind.
    prompt = letter("{{ question }}")
    object.__setattr__(prompt, "answer_format", "letters")
    with pytest.raises(KvorumError, match=r"answer format 'letters' is unknown; did you mean 'letter'\?"):
        prompt.__post_init__()


def test_a_prompt_given_as_text_is_checked_too():
    with pytest.raises(KvorumError, match="prompt, line 1: the prompt template uses 'questoin'"):
        letter("{{ questoin }}")


def test_more_choices_than_letters_are_no_matter_in_text():
    many = dataclasses.replace(QUESTION, choices=tuple(str(n) for n in range(40)))
    assert "39" in Prompt(answer_format="text", template="{{ question }} {{ choices | join(', ') }}:").render(many)
