"""Exceptions, and sentences about options turned into sentences about keywords."""

from __future__ import annotations

import re

from ._calls import call, function


class Error(ValueError):
    """Something that you can correct: one sentence says what is wrong and what to do."""

    def __init__(self, sentence: str = "") -> None:
        super().__init__(in_python(sentence))


class NotFoundError(Error, FileNotFoundError):
    """A file, folder, run, or model that you named is not there."""


class Diverged(Error, ArithmeticError):
    """Training went to infinity; the sentence says where, and what helps."""


def interruption(advice: str) -> KeyboardInterrupt:
    """The exception of work that you interrupted; `advice` says how to go on."""
    return KeyboardInterrupt(in_python(advice)) if advice else KeyboardInterrupt()


_COMMAND = re.compile(r"(`retune [^`]+`)")
#: What to run next, with its command line, as findings end.
_NEXT = re.compile(r"(?m)^(Next: [^\n]*)\n  (retune [^\n]*)(\n?)")
_OPTION = re.compile(r"(?<![\w-])--([a-z][a-z0-9]*(?:-[a-z0-9]+)*)(?: <[^>]*>| (\d[\w.]*\b|keep\b|last\b|full\b))?")


def in_python(sentence: str) -> str:
    """A sentence in which options and commands are written as Python's. Steps that have no call are left out.

    >>> in_python("the run exists; choose another --out, or resume it with `retune fit --resume 'my run'`")
    'the run exists; choose another out, or resume it with `retune.resume("my run")`'
    >>> in_python("the loss is not finite (--clip-norm 1, --head-init keep)")
    'the loss is not finite (clip_norm=1, head_init="keep")'
    >>> in_python("--lr, for which `retune lr-find` has suggestions; `retune report r --cka c.json` writes the report")
    'lr, for which `retune.lr_find` has suggestions; `retune report r --cka c.json` writes the report'
    >>> in_python("Next: more:\\n  retune eval --data memory:1\\nNext: other:\\n  retune eval --model r --data a --batch-size 5\\n")
    'Next: other:\\n  retune.evaluate("r", "a", batch_size=5)\\n'
    """

    def option(match: re.Match[str]) -> str:
        name, value = match[1].replace("-", "_"), match[2]
        if value is None:
            return name
        return f"{name}={value}" if value[0].isdigit() else f'{name}="{value}"'

    def step(match: re.Match[str]) -> str:
        called = call(match[2])
        return "" if called is None else f"{match[1]}\n  {called}{match[3]}"

    parts = _COMMAND.split(_NEXT.sub(step, sentence))
    return "".join(_in_quotes(part) if part.startswith("`retune ") else _OPTION.sub(option, part) for part in parts)


def _in_quotes(command: str) -> str:
    """A command in a sentence, as the call or the name of its function; as it is where Python has none."""
    line = command.strip("`")
    named = function(line.split()[1])
    called = call(line) if "--" in line else None
    return command if named is None else f"`{called or named}`"
