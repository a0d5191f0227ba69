"""Writes python/retune/_options.py: the options of every command as types, from the declarations of the command line.

    python scripts/python_options.py [--check]

With --check, nothing is written, and the status says whether the file is as it should be.
"""

import keyword
import sys
from pathlib import Path

from retune import _arguments

TARGET = Path(__file__).parent.parent / "python/retune/_options.py"

HEAD = '''"""The options of every command, for type checkers. Written by scripts/python_options.py; do not edit."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

Path = str | os.PathLike[str]

'''

#: Functions, their commands, and the parameters that they name themselves.
FUNCTIONS = {
    "Advise": ("advise", {"model", "data"}),
    "Audit": ("audit", {"model", "data"}),
    "Cka": ("cka", {"model", "data"}),
    "Compare": ("compare", {"model", "data", "out", "resume"}),
    "Evaluate": ("eval", {"model", "data"}),
    "Features": ("features", {"model", "data", "layer", "out"}),
    "Fit": ("fit", {"model", "data", "out", "resume"}),
    "Load": ("layers", {"model", "tensors"}),
    "LrFind": ("lr-find", {"model", "data"}),
    "Plan": ("plan", {"model", "data", "toml"}),
    "Predict": ("predict", {"model", "images"}),
    "Soup": ("soup", {"runs", "out"}),
    "WiseFt": ("wise-ft", {"run"}),
}


def kind(option: _arguments.Option) -> str:
    """The type of an option's values."""
    if option.is_switch:
        return "bool"
    if option.name == "eval":
        return "Mapping[str, Any]"
    if option.name in ("against", "source", "plan", "from"):
        return "Any"
    if option.choices:
        one = f"Literal[{', '.join(repr(choice) for choice in option.choices)}]"
        return f"{one} | str | Sequence[str]" if option.several else one
    value = option.value or ""
    if value == "TIME":
        return "str"
    if value in ("PATH", "FILE", "FOLDER", "RUN", "DIR", "PAGE.html", "FILE.json"):
        return "Path | Sequence[Path]" if option.several else "Path"
    if value in ("NAME", "NAMES", "LAYER", "A,B,C", "MODEL"):
        return "str | Sequence[str]" if option.several else "str"
    if "," in value or ".." in value or "HxW" in value or option.several:
        return "float | str | Sequence[float]"
    if value in ("N", "K", "STEPS", "EPOCH", "MIB"):
        return "int | Sequence[int]" if option.keyword == "seeds" else "int"
    return "float | str" if "|" in value or option.name == "temperature" else "float"


def written() -> str:
    """The file's text."""
    text = HEAD
    for name, (command, own) in FUNCTIONS.items():
        options = _arguments.commands()[command].options.values()
        text += f"\nclass {name}Options(TypedDict, total=False):\n"
        text += f'    """Options of `retune {command}`."""\n\n'
        for option in options:
            if option.keyword in own | _arguments.AS_FUNCTIONS:
                continue
            assert not keyword.iskeyword(option.keyword)
            text += f"    {option.keyword}: {kind(option)} | None\n"
        text += "\n"
    return text.rstrip("\n") + "\n"


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(0 if TARGET.read_text() == written() else f"{TARGET} is not as scripts/python_options.py writes it")
    TARGET.write_text(written())
