"""Parts of a command as tasks of a Ray cluster: https://docs.ray.io/en/latest/ray-core/tasks.html"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import _retune
from ._errors import Error

#: How often Ray starts a part again that was lost with its machine.
_RETRIES = 5


def run_parts(commands: Sequence[Sequence[str]], threads: int) -> list[str | None]:
    """Runs command lines, each as a task that takes `threads` processors; what each finds, as `--json` prints it."""
    ray = _ray()
    task = ray.remote(num_cpus=threads, max_retries=_RETRIES)(_run)
    waiting = [task.remote(list(command)) for command in commands]
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
    return max(1, int(_ray().cluster_resources().get("CPU", 1)))


def _run(command: list[str]) -> str | None:
    return _retune.run(command, None)[0]


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise Error("engine='ray' needs Ray: pip install ray") from None
    if not ray.is_initialized():
        ray.init()
    return ray
