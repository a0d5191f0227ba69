"""Parts of a command as tasks of a Ray cluster: https://docs.ray.io/en/latest/ray-core/tasks.html"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from . import _retune
from ._errors import Error

#: Ray starts a part again however often its machine is lost. A part that fails by itself is not tried again.
_RETRIES = -1


def run_parts(commands: Sequence[Sequence[str]], threads: int) -> list[str | None]:
    """Runs command lines, each as a task that takes `threads` processors; what each finds, as `--json` prints it.

    Paths on the lines are relative to the present working directory.
    """
    ray = cluster()
    task = ray.remote(num_cpus=threads, max_retries=_RETRIES)(_run)
    here = os.getcwd()
    waiting = [task.remote(list(command), here) for command in commands]
    try:
        return list(ray.get(waiting))
    except ray.exceptions.RayTaskError as error:
        cause = getattr(error, "cause", None)
        raise cause if isinstance(cause, Error) else error
    finally:
        # After a failure or an interrupt, what is not done need not be.
        for reference in waiting:
            ray.cancel(reference)


def processors() -> int:
    """Processors of the cluster."""
    return max(1, int(cluster().cluster_resources().get("CPU", 1)))


def _run(command: list[str], directory: str) -> str | None:
    # A machine that does not have the directory gets paths that say themselves where they are.
    if os.path.isdir(directory):
        os.chdir(directory)
    return _retune.run(command, None)[0]


def cluster(address: str | None = None) -> Any:
    """The module `ray`, connected to a cluster: the one in use, that of an address, or a new one on this machine."""
    try:
        import ray
    except ImportError:
        raise Error("this needs Ray: pip install 'ray[data,tune]'") from None
    if not ray.is_initialized():
        try:
            ray.init(address=address)
        except ConnectionError as error:
            raise Error(f"no Ray cluster answers{f' at {address}' if address else ''}: {error}") from None
    return ray
