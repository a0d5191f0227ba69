"""A run in the place of another, which is kept until the new one is under way."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import _arguments
from ._errors import Diverged, Error

#: What options that name something to read call their value.
_READ = ("MODEL", "PATH", "NAME=PATH", "FILE", "RUN")
#: Options that name the run itself.
_OF_RUN = ("out", "resume")


@contextmanager
def overwriting(run: Path, keywords: Mapping[str, Any]) -> Iterator[None]:
    """Lets a fit with these keywords make a run in the place of another.

    The old run waits beside it under a hidden name. It is removed once the new one is finished, or has begun and can be
    resumed; otherwise, as after a mistake, it comes back. If the process is killed meanwhile, the next such call settles it.
    """
    aside = run.with_name(f".{run.name}.overwritten")
    if not run.exists() and _is_run(aside):
        # A process was killed before its run began.
        aside.rename(run)
    moved = False
    if _is_run(run):
        _refuse_parts(run, keywords)
        _refuse_in_use(run)
        # A process was killed after its run began.
        _remove(aside)
    try:
        if _is_run(run):
            run.rename(aside)
            moved = True
        yield
    except BaseException as raised:
        has_begun = _is_run(run) and not isinstance(raised, Diverged)
        try:
            if has_begun:
                _remove(aside)
            elif moved:
                _remove(run)
        finally:
            if _is_run(aside) and not run.exists():
                aside.rename(run)
        raise
    _remove(aside)


def _is_run(folder: Path) -> bool:
    return (folder / "run.toml").is_file()


def _remove(run: Path) -> None:
    """Removes a run, if it is there. It loses its name first, so that an interrupt leaves no half of it under that name."""
    if run.exists():
        prefix = f".{run.name.lstrip('.')}-"
        with tempfile.TemporaryDirectory(prefix=prefix, dir=run.parent, ignore_cleanup_errors=True) as folder:
            run.rename(Path(folder) / "run")


def _refuse_parts(run: Path, keywords: Mapping[str, Any]) -> None:
    """Refuses to replace a run by one that reads from it."""
    for name, option in _arguments.commands()["fit"].options.items():
        if option.value not in _READ or name in _OF_RUN:
            continue
        value = keywords.get(name)
        several = list(value.values()) if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else [value]
        for part in several:
            if _lies_in(getattr(part, "path", part), run):
                raise Error(f"{name} lies in {run}, which overwrite would replace; choose another out")


def _lies_in(location: Any, folder: Path) -> bool:
    if not isinstance(location, (str, os.PathLike)):
        return False
    text = os.fspath(location)
    # A name goes before the path of a further set, and a shift may follow it.
    after_name = text.partition("=")[2]
    places = [place for whole in (text, after_name) for place in (whole, whole.partition("@")[0])]
    found = [Path(os.path.realpath(place)) for place in places if place and os.path.exists(place)]
    return any(place.is_relative_to(os.path.realpath(folder)) for place in found)


def _refuse_in_use(run: Path) -> None:
    try:
        import fcntl
    except ImportError:
        # Where there is no such lock, folders of open files cannot be moved.
        return
    try:
        with open(run / ".lock", "rb+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Error(f"{run} is in use by another process; wait until it ends, or name another directory") from None
    except OSError:
        # The file system has no locks, or nobody has ever locked the run.
        pass
