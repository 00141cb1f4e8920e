"""Laws from a user's own files: what works, and the one line that says why something does not."""

import sys

import jax
import jax.numpy as jnp
import pytest

from perflaw_jax.catalogue import find_law
from perflaw_jax.design import Design
from perflaw_jax.laws import LAWS, LawEntry, OpaqueLaw

MODULE = """
from typing import NamedTuple
import numpy as np
from perflaw_jax.laws import LAWS, LawEntry

ENTRY = LawEntry("mine", LAWS["performance-dense"].law, "accuracy", "%", "a paper", "small models", experts=False)

class Table:  # no pytree: it holds what jax cannot trace
    def __init__(self, words="a table"):
        self.words = words
    def raw(self, design):
        return 3.0 * design.hidden_size
    def clamp(self, raw):
        return raw

class Coefficients(NamedTuple):
    slope: float = 2.0
    def raw(self, design):
        return self.slope * design.num_hidden_layers
    def clamp(self, raw):
        return raw

class Needs:
    def __init__(self, data):
        self.data = data
    def raw(self, design):
        return 1.0
    clamp = raw

class Loss(Table):
    higher_is_better = False

class OnlyRaw:
    def raw(self, design):
        return 1.0

table = Table()
only_raw = OnlyRaw()
text = "score"
nothing = None
"""
DESIGN = Design(32, 4096, 14336, 32, 1e12)


@pytest.fixture
def write(tmp_path, monkeypatch):
    """A function that writes a module of the user's; it can be imported until the test ends."""
    monkeypatch.syspath_prepend(tmp_path)
    before = {*sys.modules}

    def module(name, text):
        (tmp_path / f"{name}.py").write_text(text)

    yield module
    for name in {*sys.modules} - before:
        if not name.startswith(("jax", "perflaw_jax")):
            del sys.modules[name]


def refusal(name: str) -> str:
    """The one line with which a law is refused."""
    with pytest.raises(ValueError) as caught:
        find_law(name)
    message = str(caught.value)
    assert "\n" not in message and message.startswith("law: ")
    return message


def test_an_object_that_is_no_pytree(write):
    write("user_laws", MODULE)
    for name in ("table", "Table"):
        law = find_law(f"user_laws:{name}").law
        assert isinstance(law, OpaqueLaw) and jax.tree.leaves(law) == []
        score = jax.jit(lambda law, design: law.clamp(law.raw(design)))
        assert float(score(law, DESIGN)) == 3 * 4096


def test_an_object_with_coefficients(write):
    write("user_laws", MODULE)
    entry = find_law("user_laws:Coefficients")
    assert jax.tree.leaves(entry.law) == [2.0]
    assert entry.with_settings({"slope": 5.0}).law.raw(DESIGN) == 160
    with pytest.raises(ValueError, match="^law_settings.slop: .* did you mean 'slope'"):
        entry.with_settings({"slop": 5.0})


def test_less_is_better_is_inherited_by_the_entry(write):
    write("user_laws", MODULE)
    assert find_law("user_laws:Table").higher_is_better and not find_law("user_laws:Loss").higher_is_better


def test_a_law_entry_is_taken_as_it_is(write):
    write("user_laws", MODULE)
    entry = find_law("user_laws:ENTRY")
    assert isinstance(entry, LawEntry) and (entry.name, entry.metric, entry.experts) == ("mine", "accuracy", False)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (":score", "law: no law named ':score'; allowed: performance-dense"),
        ("user_laws:", "law: no law named 'user_laws:'; allowed: performance-dense"),
        ("user_laws", "law: no law named 'user_laws'; allowed: performance-dense"),
        ("", "law: no law named ''; allowed: performance-dense"),
        (".user_laws:table", "law: cannot load .user_laws:table: TypeError: "),
        ("..:table", "law: cannot load ..:table: TypeError: "),
        ("user laws:table", "law: cannot load user laws:table: ModuleNotFoundError: No module named 'user laws'"),
        ("user_laws:absent", "law: cannot load user_laws:absent: AttributeError: "),
        ("user_laws:table.raw", "law: cannot load user_laws:table.raw: AttributeError: "),
        ("user_laws:Needs", "law: cannot load user_laws:Needs: TypeError: "),
        ("user_laws:only_raw", "law: user_laws:only_raw is neither a function of a design nor an object with raw and clamp"),
        ("user_laws:text", "law: user_laws:text is neither"),
        ("user_laws:nothing", "law: user_laws:nothing is neither"),
        ("user_laws:np", "law: user_laws:np is neither"),
    ],
)
def test_what_is_no_law(name, reason, write):
    write("user_laws", MODULE)
    assert refusal(name).startswith(reason)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "AttributeError: module 'user_broken' has no attribute 'score'"),
        ("def score(design:\n  return 1", "SyntaxError: "),
        ("import a_package_that_is_not_there", "ModuleNotFoundError: No module named 'a_package_that_is_not_there'"),
        ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("\0", "SyntaxError: "),
    ],
)
def test_a_module_that_does_not_load(text, reason, write):
    write("user_broken", text)
    assert refusal("user_broken:score").startswith(f"law: cannot load user_broken:score: {reason}")


def test_a_builtin_function():
    entry = find_law("builtins:abs")  # callable, so only a design tells that it is no law
    with pytest.raises(ValueError, match="^law_settings.a: builtins:abs has no such setting; "):
        entry.with_settings({"a": 1.0})
    with pytest.raises(ValueError, match="^law: builtins:abs cannot be traced on one design: bad operand type") as caught:
        entry.check(entry.law.raw, DESIGN, experts=False)
    assert "\n" not in str(caught.value)


def test_check_wants_one_scalar():
    entry = LAWS["performance-dense"]
    entry.check(entry.law.raw, DESIGN, experts=False)
    with pytest.raises(ValueError, match=r"^law: performance-dense must return a scalar for one design, .* \(3,\)"):
        entry.check(lambda design: jnp.ones(3) * design.hidden_size, DESIGN, experts=False)
    with pytest.raises(ValueError, match="^law: performance-dense cannot be traced on one design: .*'tuple'"):
        entry.check(lambda design: (1.0, 2.0), DESIGN, experts=False)
    with pytest.raises(ValueError, match="^law: performance-dense scores dense models only"):
        entry.check(entry.law.raw, DESIGN, experts=True)
