"""What a scenario is."""

import hashlib
import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Callable


@dataclass(frozen=True)
class Scenario:
    """One play with machines: what it shows, what it needs, the function that plays it."""

    name: str
    # What is shown, in one line.
    title: str
    # Gets a World; an exception is a failure.
    play: Callable
    # Words of supplies.py.
    needs: tuple = ()
    # Packages of the root that it works beside, for the record.
    packages: tuple = ()

    def hash(self) -> str:
        """Changes when the file changes that the scenario is written in."""
        return hashlib.sha256(Path(inspect.getfile(self.play)).read_bytes()).hexdigest()[:8]
