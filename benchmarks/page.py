"""docs/performance.md, written from the JSON of real runs."""
from pathlib import Path
from benchmarks.figures import Run
def write(first: Run, *others: Run) -> Path:
    raise NotImplementedError
