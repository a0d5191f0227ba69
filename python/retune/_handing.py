"""Images in memory that a run needs again when it is resumed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ._calls import in_memory, resuming
from ._data import Located
from ._errors import Error

#: What is known of the images, in a checkpoint, by their location.
_FILE = "memory.json"


@contextmanager
def noted(run: Path, held: Iterable[Located]) -> Iterator[None]:
    """Notes what is known of images in memory beside the checkpoint that a run or comparison leaves when it stops early.

    A location is a hash of everything, so it does not tell what differs.
    """
    try:
        yield
    except BaseException:
        data, sets = in_memory(run)
        content = {found.path: found.content for found in held if found.path in (data, *sets.values())}
        if content:
            for checkpoint in _checkpoints(run):
                # The checkpoint is of use without.
                with suppress(OSError):
                    (checkpoint / _FILE).write_text(json.dumps(content))
        raise


def check(run: Path, keywords: Mapping[str, Any], held: Iterable[Located]) -> None:
    """Checks that images in memory are those that an unfinished run or comparison began with.

    Raises `retune.Error`, which says what differs as far as that was noted.
    """
    if (run / "summary.json").is_file():
        return
    data, sets = in_memory(run)
    handed = {found.path: found.content for found in held if found.content is not None}
    further = keywords.get("eval") or {}
    pairs = {"data": (data, keywords.get("data"))} | {name: (place, further.get(name)) for name, place in sets.items()}
    for what, (began, now) in pairs.items():
        # A shift may follow a location.
        place = (now or "").partition("@")[0]
        if began is not None and place != began and place in handed:
            difference = _difference(_noted(run).get(began), handed[place])
            raise Error(f"{what} is not what {run} began with: {difference}; {_ADVICE}")


_ADVICE = "hand the same images over again"


def advised(error: Error, run: Path) -> Error:
    """The error of a run whose images are not there, with the call that hands them over."""
    return type(error)(f"{error}, as in `{resuming(str(run))}`") if str(error).endswith(_ADVICE) else error


def _difference(began: Mapping[str, Any] | None, now: Mapping[str, Any]) -> str:
    if began is None:
        return "pixels, labels, classes, groups, or names differ"
    if began["images"] != now["images"]:
        return f"there were {began['images']:,} images, and there are {now['images']:,}"
    known = ("labels", "classes", "groups", "names")
    differing = [what for what in known if began[what] != now[what]]
    return f"{' and '.join(differing) or 'pixels'} differ"


def _checkpoints(run: Path) -> list[Path]:
    return [folder for folder in [run / "checkpoint", *run.glob("runs/**/checkpoint")] if folder.is_dir()]


def _noted(run: Path) -> dict[str, Any]:
    for checkpoint in _checkpoints(run):
        with suppress(OSError, ValueError):
            found: dict[str, Any] = json.loads((checkpoint / _FILE).read_text())
            return found
    return {}
