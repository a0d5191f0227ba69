"""Command lines as calls in Python."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

from . import _arguments

#: Functions of commands that have other names. Those of the rest have the command's.
_NAMES = {"eval": "evaluate"}
#: Commands with a function, each with what its function takes by position.
_FUNCTIONS = {
    "advise": ("model", "data"),
    "audit": ("model", "data"),
    "cka": ("model", "data"),
    "compare": ("model", "data"),
    "eval": ("model", "data"),
    "features": ("model", "data"),
    "fit": ("model", "data"),
    "lr-find": ("model", "data"),
    "plan": ("model", "data"),
    "predict": ("model", "images"),
    "soup": ("runs",),
    "umap": ("model", "data"),
    "wise-ft": ("run",),
}
#: What a command line has where images of one's own belong.
_PLACEHOLDERS = {"NEW_IMAGES": "new_images", "IMAGES": "images"}
#: Values of options that never are numbers.
_TEXTS = ("MODEL", "PATH", "NAME", "FILE", "RUN", "DIR", "FOLDER", "IMAGE")
_NUMBER = re.compile(r"-?\d+(\.\d+)?(e-?\d+)?")
#: What locations in memory begin with.
_MEMORY = "memory:"


def function(command: str) -> str | None:
    """The function of a command; None where it has none.

    >>> function("eval"), function("lr-find"), function("report")
    ('retune.evaluate', 'retune.lr_find', None)
    """
    if command == "layers":
        return "retune.load(model).layers"
    return f"retune.{_NAMES.get(command, command.replace('-', '_'))}" if command in _FUNCTIONS else None


def call(line: str) -> str | None:
    """The call that does what a command line does; None where there is none, or where its images are in memory.

    >>> call("retune eval --model run --data NEW_IMAGES --size 64x96 --per-class")
    'retune.evaluate("run", new_images, size=(64, 96), per_class=True)'
    >>> call("retune compare --model m --data 'my photos' --eval a=b --methods lp,ft --lr 1e-3,1e-2 --out c")
    'retune.compare("m", "my photos", eval={"a": "b"}, methods=["lp", "ft"], lr=[1e-3, 1e-2], out="c")'
    >>> call("retune predict --model run IMAGES"), call("retune soup a b --out c"), call("retune fit --mean 0.5,0.4,0.3")
    ('retune.predict("run", images)', 'retune.soup(["a", "b"], out="c")', 'retune.fit(mean=[0.5, 0.4, 0.3])')
    >>> call("retune fit --resume=run"), call("retune report run"), call("retune eval --model run --data memory:12")
    ('retune.resume("run")', None, None)
    """
    found = _parsed(line)
    if found is None:
        return None
    command, values = found
    if "resume" in values:
        return resuming(values["resume"][0])
    if any(_MEMORY in text for texts in values.values() for text in texts) or _reads_memory(values):
        return None
    options = _arguments.commands()[command].options
    places = [place for place in _FUNCTIONS[command] if place in values]
    if places[:1] != [_FUNCTIONS[command][0]]:
        # Without a model, the data has its name, where the function has that name for it.
        if places and command in ("cka", "predict"):
            return None
        places = []
    shown = [_literal(options[place], values[place]) for place in places]
    shown += [f"{name}={_literal(options[name], texts)}" for name, texts in values.items() if name not in places]
    return f"{function(command)}({', '.join(shown)})"


def resuming(run: str) -> str:
    """The call that goes on with a run or comparison, with the images that it needs again."""
    data, sets = in_memory(Path(run))
    further = f"{', data=…' if data else ''}{', eval={…}' if sets else ''}"
    return f"retune.resume({_quoted(run)}{further})"


def in_memory(run: Path) -> tuple[str | None, dict[str, str]]:
    """Where the images of a run or comparison were in memory: those that it trains on, and further sets by name."""
    file = next((file for file in (run / "run.toml", run / "compare.toml") if file.is_file()), None)
    text = "" if file is None else file.read_text(encoding="utf-8")
    data = re.search(rf'(?m)^data = "({_MEMORY}\w+)', text)
    sets = re.findall(rf'(?m)^\[\[(?:\w+\.)*evaluations\]\]\nname = "(.*)"\npath = "({_MEMORY}\w+)', text)
    return data and data[1], dict(sets)


def _reads_memory(values: dict[str, list[str]]) -> bool:
    """Whether a run that options are taken from was on images in memory."""
    return any(any(in_memory(Path(text).parent)) for text in values.get("config", []))


def _parsed(line: str) -> tuple[str, dict[str, list[str]]] | None:
    """A command with a function, and the values of its options by keyword, as they are typed."""
    try:
        _, command, *words = shlex.split(line)
    except ValueError:
        return None
    if command not in _FUNCTIONS:
        return None
    options = _arguments.commands()[command].options
    by_name = {option.name: option for option in options.values() if not option.positional}
    positional = next((option for option in options.values() if option.positional), None)
    values: dict[str, list[str]] = {}
    rest = iter(words)
    for word in rest:
        name, equals, value = word.removeprefix("--").partition("=")
        option = by_name.get(name) if word.startswith("--") else positional
        if option is None or word == "--":
            return None
        if option.positional:
            value = word
        elif not option.is_switch and not equals:
            value = next(rest, "")
        values.setdefault(option.keyword, []).append(value)
    return command, values


def _literal(option: _arguments.Option, texts: list[str]) -> str:
    """The value of an option as Python's."""
    kind = option.value or ""
    if option.is_switch:
        return "True"
    if "=" in kind:
        pairs = (text.partition("=") for text in texts)
        return "{" + ", ".join(f"{_quoted(name)}: {_quoted(value)}" for name, _, value in pairs) + "}"
    for sign, between in (("x", "HxW"), ("..", "..")):
        if between in kind and sign in texts[0]:
            return f"({', '.join(_single(kind, part) for part in texts[0].split(sign))})"
    delimiter = option.delimiter or ("," if "," in kind else None)
    parts = [part for text in texts for part in text.split(delimiter)] if delimiter else texts
    shown = [_single(kind, part) for part in parts]
    is_list = len(shown) > 1 or (option.several and not delimiter and parts[0] not in _PLACEHOLDERS)
    return f"[{', '.join(shown)}]" if is_list else shown[0]


def _single(kind: str, text: str) -> str:
    if text in _PLACEHOLDERS:
        return _PLACEHOLDERS[text]
    return text if _NUMBER.fullmatch(text) and not kind.startswith(_TEXTS) else _quoted(text)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
