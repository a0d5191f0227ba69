"""Docstrings, types, and the book."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import retune

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["_arguments", "_calls", "_data", "_errors", "_model", "_results", "_commands", "demo"])
def test_docstrings_are_true(name: str) -> None:
    module = importlib.import_module(f"retune.{name}")
    assert doctest.testmod(module).failed == 0


def test_every_command_with_a_call_has_its_function() -> None:
    from retune import _calls

    for command, places in _calls._FUNCTIONS.items():
        function = getattr(retune, (_calls.function(command) or "").removeprefix("retune."))
        assert set(places) <= set(retune._arguments.commands()[command].options), command
        assert len(inspect.signature(function).parameters) >= len(places)


def test_every_public_name_is_documented() -> None:
    for name in retune.__all__:
        value = getattr(retune, name)
        if name == "__version__":
            continue
        assert inspect.getdoc(value), name
        if inspect.isclass(value) and value.__module__.startswith("retune"):
            for member, method in vars(value).items():
                if not member.startswith("_") and callable(method):
                    assert inspect.getdoc(method), f"{name}.{member}"


def test_the_types_of_options_are_the_command_lines() -> None:
    script = ROOT / "scripts/python_options.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_stub_has_what_the_extension_has() -> None:
    stub = (ROOT / "python/retune/_retune.pyi").read_text()
    declared = set(re.findall(r"^(?:def|class) (\w+)", stub, re.MULTILINE)) | {"INTERPOLATIONS"}
    assert declared == {name for name in dir(retune._retune) if not name.startswith("__")}
    loaded = re.findall(r"^    def (\w+)", stub.split("class LoadedModel:")[1], re.MULTILINE)
    assert set(loaded) == {name for name in dir(retune._retune.LoadedModel) if not name.startswith("__")}


def test_types_are_strict() -> None:
    mypy = pytest.importorskip("mypy.api")
    out, problems, status = mypy.run(["--config-file", str(ROOT / "pyproject.toml"), str(ROOT / "python/examples")])
    assert status == 0, out + problems


def test_the_book_names_functions_and_options_that_exist() -> None:
    page = (ROOT / "book/src/guide/python.md").read_text()
    for name in set(re.findall(r"\bretune\.(\w+)\b", page)) - {"md"}:
        assert hasattr(retune, name), name
