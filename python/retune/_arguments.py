"""Keywords as the command line's options: the same names, defaults and checks, from the same declarations."""

from __future__ import annotations

import difflib
import inspect
import json
import keyword
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from . import _retune


@dataclass(frozen=True)
class Option:
    """An option of a command."""

    name: str
    positional: bool
    value: str | None
    several: bool
    delimiter: str | None
    default: str | None
    choices: tuple[str, ...]
    help: str
    group: str | None

    @property
    def keyword(self) -> str:
        """Its name in Python: `warmup_epochs` for `--warmup-epochs`, and `from_` for `--from`."""
        name = self.name.replace("-", "_")
        return f"{name}_" if keyword.iskeyword(name) else name

    @property
    def is_switch(self) -> bool:
        """Whether it takes no value."""
        return self.value is None

    @property
    def python_default(self) -> Any:
        """Its default as a Python value."""
        if self.is_switch:
            return False
        if self.default is None:
            return None
        for kind in (int, float):
            try:
                return kind(self.default)
            except ValueError:
                pass
        return self.default


@dataclass(frozen=True)
class Command:
    """A command with its options by their keywords."""

    name: str
    about: str
    options: Mapping[str, Option]


@cache
def commands() -> Mapping[str, Command]:
    """Every command by its name on the command line."""
    declared = json.loads(_retune.declarations())
    found = {}
    for command in declared:
        options = [Option(**{**option, "choices": tuple(option["choices"])}) for option in command["options"]]
        by_keyword = {option.keyword: option for option in options}
        found[command["name"]] = Command(command["name"], command["about"], by_keyword)
    return found


def line(command: str, keywords: Mapping[str, Any], function: str | None = None) -> list[str]:
    """The command line of a command with these keywords. `None` and `False` are not said.

    >>> line("fit", {"data": "photos", "lr": [1e-3, 1e-2], "no_shuffle": True, "eval": {"deployed": "phone"}})
    ['fit', '--data', 'photos', '--lr', '0.001,0.01', '--no-shuffle', '--eval', 'deployed=phone']
    """
    options = commands()[command].options
    typed, positional = [command], []
    for name, value in keywords.items():
        option = options.get(name)
        if option is None:
            raise unknown(function or command.replace("-", "_"), name, options)
        if value is None or (value is False and option.is_switch):
            continue
        if option.positional:
            positional += texts(option, value)
        elif option.is_switch:
            if value is not True:
                raise TypeError(f"{name} is True or False, not {value!r}")
            typed.append(f"--{option.name}")
        else:
            for text in texts(option, value):
                # What begins with a hyphen would be taken for an option.
                typed += [f"--{option.name}={text}"] if text.startswith("-") else [f"--{option.name}", text]
    return [*typed, "--", *positional] if positional else typed


def unknown(function: str, name: str, known: Iterable[str]) -> TypeError:
    """The exception for a keyword that no option has."""
    close = difflib.get_close_matches(name, list(known), n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return TypeError(f"{function}() got an unexpected keyword argument {name!r}{hint}")


def texts(option: Option, value: Any) -> list[str]:
    """The values of an option as they are typed."""
    if isinstance(value, Mapping):
        return [f"{key}={text(option, item)}" for key, item in value.items()]
    if isinstance(value, (list, tuple)) or bool(getattr(value, "ndim", 0)):
        parts = [text(option, item) for item in value]
        if option.value is not None and "HxW" in option.value:
            return ["x".join(parts)]
        if option.value is not None and ".." in option.value:
            return ["..".join(parts)]
        if option.several and option.delimiter is None:
            return parts
        return [",".join(parts)]
    return [text(option, value)]


def text(option: Option, value: Any) -> str:
    """A single value as it is typed."""
    if isinstance(value, bool):
        raise TypeError(f"{option.keyword} takes a value ({option.value}), not {value}")
    # A run or a model stands for where it is.
    value = getattr(value, "path", value)
    if isinstance(value, os.PathLike):
        return str(os.fspath(value))
    if hasattr(value, "item") and not isinstance(value, str):
        value = value.item()
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, (str, int)):
        return str(value)
    raise TypeError(f"{option.keyword} takes a value ({option.value}), not {type(value).__name__}")


#: Options that have functions of their own in Python: `retune.plan` and `retune.estimate`.
AS_FUNCTIONS = frozenset({"dry_run"})


def documented(function: Any, command: str) -> Any:
    """The function with the command's options in its signature and docstring."""
    options = commands()[command].options
    own = inspect.signature(function).parameters
    named = [parameter for parameter in own.values() if parameter.kind is not inspect.Parameter.VAR_KEYWORD]
    further = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=option.python_default)
        for name, option in options.items()
        if name not in own and name not in AS_FUNCTIONS and not option.positional
    ]
    function.__signature__ = inspect.Signature([*named, *further])
    function.__doc__ = f"{inspect.getdoc(function)}\n\n{options_help(command, AS_FUNCTIONS)}"
    return function


def options_help(command: str, without: Collection[str]) -> str:
    """What the help says of every option, by headings."""
    lines, heading = [f"Options (those of `retune {command}`):"], object()
    for name, option in commands()[command].options.items():
        if name in without:
            continue
        if option.group != heading:
            heading = option.group
            lines += ["", f"{option.group or 'Arguments'}"]
        default = "" if option.default is None else f" [default: {option.default}]"
        choices = f" One of {', '.join(option.choices)}." if option.choices else ""
        lines.append(f"    {name}: {option.help}.{choices}{default}")
    return "\n".join(lines)
