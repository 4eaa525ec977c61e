"""The rules that hold the layers apart, read off the source: the core does no I/O, the adapters know no SMTP."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src"
CORE = sorted((SOURCE / "smtpstate").rglob("*.py"))
#: Packages that open, encrypt, send, receive and close, and nothing else. Those that are not there yet are left out.
ADAPTERS = [
    path
    for name in ("io", "blocking", "asyncio", "trio", "anyio")
    for path in sorted((SOURCE / "adapters" / f"smtpstate_{name}").rglob("*.py"))
]

#: What reads a clock, a file, the environment or chance, or talks to the world.
IMPURE = frozenset(
    re.findall(
        r"\w+",
        "asyncio anyio concurrent ctypes fcntl fileinput getpass http logging mmap multiprocessing os pathlib "
        "platform queue random sched secrets select selectors shutil signal smtplib socket socketserver ssl "
        "subprocess tempfile threading time trio urllib uuid",
    )
)
#: Packages that are imported where they are needed, and whose absence is an error of ours with a remedy.
LAZY = frozenset({"idna", "scramp"})
IMPURE_CALLS = frozenset({"open", "print", "input", "exec", "eval", "compile", "breakpoint", "__import__"})
IMPURE_METHODS = frozenset({"now", "utcnow", "today", "localtime", "make_msgid", "formatdate"})

#: Only these see the table of the state machine.
LAYER_1 = frozenset({"_machine", "_connection", "_diagram"})
LAYER_2 = frozenset({"_link", "_session", "_transaction", "_delivery", "_requests", "_dialogue", "_trace"})
#: Requests carry answers of any type; everywhere else types are exact.
MAY_SAY_ANY = frozenset({"_requests", "_dialogue"})

VERBS = re.compile(
    r"\b(EHLO|HELO|LHLO|STARTTLS|AUTH|MAIL FROM|MAIL|RCPT|DATA|BDAT|RSET|NOOP|QUIT|VRFY|EXPN|XCLIENT|XFORWARD)\b"
)
#: Of replies and states; ``code`` is a reply's.
FORBIDDEN_ATTRIBUTES = frozenset({"state", "ahead", "code", "digit", "enhanced", "capabilities"})

Rule = Callable[[ast.Module, str], Iterator[str]]


def name_of(path: Path) -> str:
    return str(path.relative_to(SOURCE))


def imports(node: ast.AST) -> Iterator[tuple[ast.stmt, str, tuple[str, ...]]]:
    """Yield each import that happens at run time: where, from which module, which names."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield node, alias.name, ()
    elif isinstance(node, ast.ImportFrom):
        yield node, "." * node.level + (node.module or ""), tuple(alias.name for alias in node.names)
    elif isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        for other in node.orelse:
            yield from imports(other)
    else:
        for child in ast.iter_child_nodes(node):
            yield from imports(child)


def only_pure_imports(tree: ast.Module, module: str) -> Iterator[str]:
    for node, imported, _ in imports(tree):
        top = imported.partition(".")[0]
        if top in LAZY and node not in tree.body:
            continue
        if top in IMPURE:
            yield f"{module}:{node.lineno} imports {imported}, which is not pure"
        elif top != "smtpstate" and top not in sys.stdlib_module_names:
            yield f"{module}:{node.lineno} imports {imported}, which is not of the standard library"


def nothing_asynchronous(tree: ast.Module, module: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await)) or (
            isinstance(node, ast.comprehension) and node.is_async
        ):
            yield f"{module}:{getattr(node, 'lineno', '?')} is asynchronous"


def nothing_read_from_the_world(tree: ast.Module, module: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Name) and called.id in IMPURE_CALLS:
            yield f"{module}:{node.lineno} calls {called.id}"
        elif isinstance(called, ast.Attribute) and called.attr in IMPURE_METHODS:
            yield f"{module}:{node.lineno} calls {called.attr}"


def own_nodes(nodes: list[ast.stmt]) -> Iterator[ast.AST]:
    """Yield everything in ``nodes`` that is not inside a further function."""
    waiting: list[ast.AST] = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            waiting.extend(ast.iter_child_nodes(node))


def nothing_yielded_in_a_finally(tree: ast.Module, module: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Try, ast.TryStar)):
            for inner in own_nodes(node.finalbody):
                if isinstance(inner, (ast.Yield, ast.YieldFrom)):
                    yield f"{module}:{inner.lineno} yields in a finally"


def steps_yield_from_requests(tree: ast.Module, module: str) -> Iterator[str]:
    if module == "_requests":
        return  # where a request yields itself
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.FunctionDef)
            and node.returns
            and ast.unparse(node.returns).startswith("Steps[")
        ):
            for inner in own_nodes(node.body):
                if isinstance(inner, ast.Yield):
                    yield f"{module}:{inner.lineno} has a bare yield"


def only_layer_1_sees_states(tree: ast.Module, module: str) -> Iterator[str]:
    if module in LAYER_1 or module == "__init__":
        return
    for statement, imported, names in imports(tree):
        if imported == "smtpstate._machine" or "State" in names:
            yield f"{module}:{statement.lineno} imports the state machine"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in ("state", "ahead"):
            yield f"{module}:{node.lineno} reads a state"


def layer_1_never_sees_layer_2(tree: ast.Module, module: str) -> Iterator[str]:
    if module not in LAYER_1:
        return
    for node, imported, _ in imports(tree):
        if imported.removeprefix("smtpstate.") in LAYER_2:
            yield f"{module}:{node.lineno} imports {imported}"


def types_are_exact(tree: ast.Module, module: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and (
            node.id == "cast" or (node.id == "Any" and module not in MAY_SAY_ANY)
        ):
            yield f"{module}:{node.lineno} says {node.id}"


CORE_RULES: list[Rule] = [
    only_pure_imports,
    nothing_asynchronous,
    nothing_read_from_the_world,
    nothing_yielded_in_a_finally,
    steps_yield_from_requests,
    only_layer_1_sees_states,
    layer_1_never_sees_layer_2,
    types_are_exact,
]


def docstrings(tree: ast.Module) -> set[ast.Constant]:
    """Return the strings that only people read."""
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    }


def no_smtp(tree: ast.Module, module: str) -> Iterator[str]:
    prose = docstrings(tree)
    for statement, imported, names in imports(tree):
        if imported in (
            "smtpstate._commands",
            "smtpstate._machine",
            "smtpstate._connection",
            "smtpstate._replies",
        ):
            yield f"{module}:{statement.lineno} imports {imported}"
        for name in {"Connection", "State", "Machine", "Command", "EnhancedCode"}.intersection(names):
            yield f"{module}:{statement.lineno} imports {name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in FORBIDDEN_ATTRIBUTES:
            yield f"{module}:{node.lineno} reads .{node.attr}"
        if not isinstance(node, ast.Constant) or node in prose:
            continue
        value = node.value.decode("latin-1") if isinstance(node.value, bytes) else node.value
        if isinstance(value, str) and VERBS.search(value):
            yield f"{module}:{node.lineno} mentions a command: {value!r}"
        elif isinstance(value, int) and not isinstance(value, bool) and 200 <= value <= 599:
            yield f"{module}:{node.lineno} mentions what may be a reply code: {value}"


def complaints(rule: Rule, source: str, module: str) -> list[str]:
    return list(rule(ast.parse(source), module))


@pytest.mark.parametrize("rule", CORE_RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", CORE, ids=name_of)
def test_the_core_is_pure(path: Path, rule: Rule) -> None:
    module = path.stem if path.parent == SOURCE / "smtpstate" else f"{path.parent.name}.{path.stem}"
    if rule is only_layer_1_sees_states and path.parent != SOURCE / "smtpstate":
        module = "__init__"  # the model server is no client: its states are its own
    assert complaints(rule, path.read_text("utf-8"), module) == []


@pytest.mark.parametrize("path", ADAPTERS, ids=name_of)
def test_an_adapter_knows_no_smtp(path: Path) -> None:
    assert complaints(no_smtp, path.read_text("utf-8"), path.stem) == []


def test_there_is_something_to_read() -> None:
    assert {"_machine", "_connection", "_requests"} <= {path.stem for path in CORE}
    assert {path.parent.name for path in ADAPTERS} >= {
        "smtpstate_io",
        "smtpstate_blocking",
        "smtpstate_asyncio",
    }


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (only_pure_imports, "import ssl"),
        (only_pure_imports, "import os.path"),
        (only_pure_imports, "from asyncio import Future"),
        (only_pure_imports, "if True:\n    import time"),
        (only_pure_imports, "if TYPE_CHECKING:\n    import ssl\nelse:\n    import socket"),
        (only_pure_imports, "def f():\n    import attrs"),
        (only_pure_imports, "import idna"),
        (only_pure_imports, "from smtpstate_io import x"),
        (nothing_asynchronous, "async def f(): ..."),
        (nothing_asynchronous, "def f():\n    return [x async for x in y]"),
        (nothing_read_from_the_world, "text = open('x').read()"),
        (nothing_read_from_the_world, "datetime.now()"),
        (
            nothing_yielded_in_a_finally,
            "def f():\n    try: ...\n    finally:\n        if x:\n            yield",
        ),
        (nothing_yielded_in_a_finally, "def f():\n    try: ...\n    finally:\n        yield from g()"),
        (steps_yield_from_requests, "def f() -> Steps[None]:\n    yield Poll()"),
        (only_layer_1_sees_states, "from smtpstate._machine import TRANSITIONS"),
        (only_layer_1_sees_states, "from smtpstate import State"),
        (only_layer_1_sees_states, "if connection.state is wanted: ..."),
        (types_are_exact, "x: Any = 1"),
        (types_are_exact, "x = cast(int, y)"),
        (no_smtp, "from smtpstate._commands import Quit"),
        (no_smtp, "from smtpstate import Connection"),
        (no_smtp, "send(b'QUIT\\r\\n')"),
        (no_smtp, "if x == 250: ..."),
        (no_smtp, "if reply.code: ..."),
    ],
)
def test_each_rule_sees_what_breaks_it(rule: Rule, source: str) -> None:
    assert complaints(rule, source, "module") != []


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (only_pure_imports, "if TYPE_CHECKING:\n    import ssl"),
        (only_pure_imports, "def f():\n    import idna"),
        (only_pure_imports, "from collections.abc import Mapping\nfrom smtpstate import Reply"),
        (nothing_yielded_in_a_finally, "def f():\n    try:\n        yield\n    finally:\n        g()"),
        (steps_yield_from_requests, "def f() -> Steps[None]:\n    yield from Poll()"),
        (no_smtp, '"""Never sees QUIT."""\nsize = 65536'),
    ],
)
def test_no_rule_sees_what_is_not_there(rule: Rule, source: str) -> None:
    assert complaints(rule, source, "module") == []


def test_layer_1_is_told_apart_from_layer_2() -> None:
    assert complaints(layer_1_never_sees_layer_2, "from smtpstate._requests import Send", "_connection") != []
    assert complaints(layer_1_never_sees_layer_2, "from smtpstate._requests import Send", "_session") == []
