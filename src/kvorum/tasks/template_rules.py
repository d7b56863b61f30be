"""What a prompt template may say: nothing by which a few lines, perhaps somebody else's, make gigabytes or never end.

Jinja's sandbox keeps a template from Python, but not from `'a' * 10**10` or loops within loops. A template here shows
a question and its choices, so that loops over the choices, conditions and a few filters are all it needs.
"""

import jinja2.nodes as jinja

from kvorum.errors import KvorumError

LONGEST = 65_536
"""Characters of a template."""
LARGEST_NUMBER = 1000
DEEPEST_LOOP = 1
LONGEST_TEXT = 100
"""Characters of a text that is given to a filter."""
MOST_NAMES = 200
"""How often variables may be named: each may be a megabyte."""
VARIABLES = {"question", "choices", "letters", "subject", "loop"}

FILTERS = {"abs", "capitalize", "count", "d", "default", "e", "escape", "first", "float", "int", "join", "last"}
FILTERS |= {"length", "list", "lower", "reverse", "round", "safe", "sort", "title", "trim", "unique", "upper"}
METHODS = {"capitalize", "endswith", "lower", "lstrip", "rstrip", "split", "startswith", "strip", "title", "upper"}
LOOP = {"index", "index0", "revindex", "revindex0", "first", "last", "length", "previtem", "nextitem"}
STATEMENTS = {
    jinja.Assign: "set",
    jinja.AssignBlock: "set",
    jinja.Block: "block",
    jinja.CallBlock: "call",
    jinja.Extends: "extends",
    jinja.FilterBlock: "filter",
    jinja.FromImport: "import",
    jinja.Import: "import",
    jinja.Include: "include",
    jinja.Macro: "macro",
    jinja.ScopedEvalContextModifier: "autoescape",
    jinja.With: "with",
}
OPERATORS = {jinja.Mul: "*", jinja.Pow: "**", jinja.Div: "/", jinja.FloorDiv: "//"}


def refuse_unbounded(tree: jinja.Template, where: str) -> None:
    """Raise KvorumError, beginning with `where`, for what a prompt needs not and could make without bounds."""
    for node in tree.find_all(jinja.Node):
        if (what := _unneeded(node)) is not None:
            raise KvorumError(f"{where}, line {node.lineno}: {what}, which a prompt template may not use")
    names = list(tree.find_all(jinja.Name))
    if len(names) > MOST_NAMES:
        raise KvorumError(f"{where}: the prompt template names variables {len(names)} times; at most {MOST_NAMES}")
    _refuse_deep_loops(tree, where, 0)


def _unneeded(node: jinja.Node) -> str | None:
    found = None
    if type(node) in STATEMENTS:
        found = f"the statement '{STATEMENTS[type(node)]}'"
    elif type(node) in OPERATORS:
        found = f"the operator '{OPERATORS[type(node)]}'"
    elif isinstance(node, jinja.Mod) and not _counts(node):
        found = "the operator '%' of anything but a loop's count by a number"
    elif isinstance(node, jinja.Const) and isinstance(node.value, int | float) and abs(node.value) > LARGEST_NUMBER:
        found = f"the number {str(node.value)[:20]}, above {LARGEST_NUMBER}"
    elif isinstance(node, jinja.Filter):
        found = _unneeded_filter(node)
    elif isinstance(node, jinja.Call):
        found = _unneeded_call(node)
    elif isinstance(node, jinja.Getattr) and node.attr not in METHODS | LOOP:
        found = f"the attribute '{node.attr}'"
    elif isinstance(node, jinja.For) and not _over_choices(node):
        found = "a loop over anything but the choices or the letters"
    elif isinstance(node, jinja.For) and _names(node.target) & VARIABLES:
        found = "a loop that gives another meaning to a variable's name"
    return found


def _over_choices(node: jinja.For) -> bool:
    """Whether a loop is over all choices or letters, or a slice of them."""
    over = node.iter
    if isinstance(over, jinja.Getitem) and isinstance(over.arg, jinja.Slice):
        over = over.node
    return isinstance(over, jinja.Name) and over.name in {"choices", "letters"} and not node.recursive


def _counts(node: jinja.Mod) -> bool:
    """Whether it takes the remainder of a count, and fills in no text."""
    return (
        isinstance(node.right, jinja.Const)
        and isinstance(node.right.value, int)
        and isinstance(node.left, jinja.Getattr)
        and _names(node.left) == {"loop"}
    )


def _unneeded_filter(node: jinja.Filter) -> str | None:
    if node.name not in FILTERS:
        return f"the filter '{node.name}' (there are {', '.join(sorted(FILTERS))})"
    given = [*node.args, *(keyword.value for keyword in node.kwargs)]
    if node.dyn_args or node.dyn_kwargs or not all(isinstance(one, jinja.Const) for one in given):
        return f"the filter '{node.name}' with anything but plain values"
    if any(isinstance(one, jinja.Const) and len(str(one.value)) > LONGEST_TEXT for one in given):
        return f"a text of more than {LONGEST_TEXT} characters in a filter"
    if node.name == "join" and any(inner.name == "join" for inner in node.find_all(jinja.Filter)):
        return "a filter 'join' of what is joined already"
    return None


def _unneeded_call(node: jinja.Call) -> str | None:
    called = node.node
    if isinstance(called, jinja.Getattr) and called.attr in METHODS:
        return None
    return "a call of anything but a text's " + ", ".join(sorted(METHODS))


def _names(node: jinja.Node) -> set[str]:
    inside = {name.name for name in node.find_all(jinja.Name)}
    return inside | ({node.name} if isinstance(node, jinja.Name) else set())


def _refuse_deep_loops(node: jinja.Node, where: str, depth: int) -> None:
    depth += isinstance(node, jinja.For)
    if depth > DEEPEST_LOOP:
        raise KvorumError(f"{where}, line {node.lineno}: loops lie more than {DEEPEST_LOOP} deep within each other")
    for child in node.iter_child_nodes():
        _refuse_deep_loops(child, where, depth)
