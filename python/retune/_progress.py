"""Progress bars of `tqdm.auto`, and messages above them."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from ._errors import in_python

#: Seconds before a bar appears, so that short tasks do not flicker.
_DELAY = 1.0


class Progress:
    """Shows one task after another, unless `quiet`. Without tqdm, there are messages and no bars."""

    def __init__(self, quiet: bool = False, on_epoch: Callable[[dict[str, Any]], object] | None = None) -> None:
        self._bar: Any = None
        self._quiet = quiet
        self._on_epoch = on_epoch

    def start(self, task: str, total: int) -> None:
        self.finish()
        tqdm = None if self._quiet else _tqdm()
        if tqdm is not None:
            self._bar = tqdm(total=total, desc=task, leave=False, delay=_DELAY, unit="")

    def advance(self, units: int) -> None:
        if self._bar is not None:
            self._bar.update(units)

    def finish(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def message(self, text: str) -> None:
        if self._quiet:
            return
        text = in_python(text)
        if self._bar is not None:
            self._bar.write(text, file=sys.stdout)
        else:
            print(text)

    def measured(self, row: str) -> None:
        if self._on_epoch is not None:
            self._on_epoch(json.loads(row))


def _tqdm() -> Any:
    try:
        with warnings.catch_warnings():
            # Without ipywidgets, tqdm falls back to text and says so each time.
            warnings.simplefilter("ignore")
            from tqdm.auto import tqdm
    except ImportError:
        return None
    return tqdm


def progress(
    options: Mapping[str, Any], on_epoch: Callable[[dict[str, Any]], object] | None = None
) -> Progress | None:
    """What shows progress with these options, and hands on what each epoch measured: nothing with `quiet` alone."""
    quiet = bool(options.get("quiet"))
    return None if quiet and on_epoch is None else Progress(quiet, on_epoch)
