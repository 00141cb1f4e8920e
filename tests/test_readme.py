"""What the README shows runs as it stands there."""

import re
import shlex
from pathlib import Path

import pytest

from perflaw_jax import cli
from perflaw_jax.design import FIELDS, QUANTITIES
from perflaw_jax.laws import LAWS
from perflaw_jax.spec import load_spec

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("code", blocks("python"))
def test_python_snippets_run(code):
    made = {}
    exec(compile(code, "README.md", "exec"), made)
    assert {*made} - {"__builtins__"}


@pytest.mark.parametrize(("text", "size"), [*zip(blocks("toml"), (57 * 3 * 2 * 256, 11 * 11), strict=True)])
def test_the_specs_are_specs(text, size, tmp_path):
    path = tmp_path / "spec.toml"
    path.write_text(text)
    assert load_spec(path).space().size == size


@pytest.mark.parametrize("line", [line[2:] for block in blocks("console") for line in block.splitlines() if line[0] == "$"])
def test_commands_run(line, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", shlex.split(line))
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 0 and capsys.readouterr().out


def test_every_command_law_field_and_count_is_mentioned():
    names = [command.callback.__name__ for command in cli.app.registered_commands]
    assert not [name for name in (*(f"perflaw {n}" for n in names), *LAWS, *FIELDS, *QUANTITIES) if name not in README]


def test_named_files_exist():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links and not [link for link in links if not (ROOT / link).exists()]
