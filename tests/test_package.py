"""What is installed with k2: everything in the package folder, and nothing else."""

from __future__ import annotations

from pathlib import Path

import k2cli


def test_nothing_is_shipped_that_is_not_part_of_k2() -> None:
    folder = Path(k2cli.__file__).parent
    files = {
        file.relative_to(folder)
        for file in folder.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    strange = {
        file
        for file in files
        if file.suffix != ".py"
        and str(file) != "py.typed"
        and (file.suffix != ".md" or file.parent.name != "manual")
    }
    assert strange == set()
    assert Path("manual/index.md") in files
