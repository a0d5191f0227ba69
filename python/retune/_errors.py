"""Exceptions, and sentences about options turned into sentences about keywords."""

from __future__ import annotations

import re


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


_RESUME = re.compile(r"`retune (?:fit|compare) --resume ([^`]+)`")
_COMMAND = re.compile(r"`retune ([a-z]+(?:-[a-z]+)*)(?: [^`]*)?`")
#: What to type next, where no command line reaches the images: they are in this process.
_WITHOUT_MEMORY = re.compile(r"(?m)^Next: [^\n]*\n  retune [^\n]*\bmemory:[^\n]*\n?")
_OPTION = re.compile(r"(?<![\w-])--([a-z][a-z0-9]*(?:-[a-z0-9]+)*)(?: <[^>]*>| (\d[\w.]*\b|keep\b|last\b|full\b))?")


def in_python(sentence: str) -> str:
    """A sentence in which options and commands are written as Python's.

    >>> in_python("the run exists; choose another --out, or resume it with `retune fit --resume run`")
    'the run exists; choose another out, or resume it with `retune.resume("run")`'
    >>> in_python("the loss is not finite (--clip-norm 1, --head-init keep)")
    'the loss is not finite (clip_norm=1, head_init="keep")'
    >>> in_python("Next: more:\\n  retune eval --data memory:1\\nNext: other:\\n  retune eval --data a")
    'Next: other:\\n  retune eval --data a'
    """

    def option(match: re.Match[str]) -> str:
        name, value = match[1].replace("-", "_"), match[2]
        if value is None:
            return name
        return f"{name}={value}" if value[0].isdigit() else f'{name}="{value}"'

    def line(text: str) -> str:
        # A command to type stays one.
        if text.startswith("  retune "):
            return text
        text = _RESUME.sub(r'`retune.resume("\1")`', text)
        text = _COMMAND.sub(lambda match: f"`retune.{match[1].replace('-', '_')}`", text)
        return _OPTION.sub(option, text)

    return "\n".join(line(text) for text in _WITHOUT_MEMORY.sub("", sentence).split("\n"))
