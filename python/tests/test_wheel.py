"""The command of the wheel."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

import pytest
import retune
from conftest import program


def test_the_command_is_the_program() -> None:
    assert program("--version").strip() == f"retune {retune.__version__}"
    line = [sys.executable, "-c", "import sys; from retune._command import main; sys.exit(main())", "fit", "--epoch", "3"]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 2 and "'--epochs'" in done.stderr and not done.stdout


def test_the_distribution_has_the_version_of_the_extension() -> None:
    try:
        assert version("retune-vision") == retune.__version__
    except PackageNotFoundError:
        pytest.skip("the package is not installed")
