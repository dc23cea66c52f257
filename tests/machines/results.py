"""The record of what each scenario showed, kept in the tree as a page that people read."""

import fcntl
import re
import time
from pathlib import Path

HEAD = """# What the machines showed

Written by `tests/machines/run`, which plays each scenario again when the binary or the scenario has
changed since; see there. Nothing here is written by hand.
"""


class Results:
    """RESULTS.md: a section for each scenario, its last result."""

    def __init__(self, path: Path, binary_hash: str):
        self._path, self._binary_hash = path, binary_hash
        self._sections = self._read()

    def _read(self) -> dict:
        if not self._path.exists():
            return {}
        sections = re.split(r"^(?=## )", self._path.read_text(encoding="utf-8"), flags=re.M)[1:]
        return {re.match(r"## (\S+)", section)[1]: section.rstrip() + "\n" for section in sections}

    def has_passed(self, scenario) -> bool:
        """With this binary, in its present form?"""
        section = self._sections.get(scenario.name, "")
        return all(f"\n- {line}\n" in section for line in ("result: passed", self._played(scenario)))

    def _played(self, scenario) -> str:
        return f"binary and scenario: {self._binary_hash[:16]} {scenario.hash()}"

    def put(self, scenario, supplies, outcome, why, seen, seconds):
        """Takes this result in the place of the scenario's former one, and writes the page."""
        facts = [
            f"result: {outcome}",
            self._played(scenario),
            f"version: {supplies.version}",
            f"date: {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, {seconds:.0f} s",
            f"kernel: {supplies.kernel_release} (Debian {supplies.kernel_version}), "
            f"{supplies.architecture.qemu[0]} {supplies.qemu_version} {supplies.accelerator()}",
            f"command: `tests/machines/run {scenario.name}`",
        ]
        for package in scenario.packages:
            facts.append(f"beside it: {package} {supplies.root_version(package)}")
        text = f"## {scenario.name}\n\n{scenario.title}\n\n" + "".join(f"- {fact}\n" for fact in facts)
        if seen:
            text += "\n" + "".join(f"{number}. {line}\n" for number, line in enumerate(seen, 1))
        if why:
            text += "\n" + "".join(f"    {line}".rstrip() + "\n" for line in why.strip().splitlines()[-30:])
        # Another run of the command may have put its own meanwhile.
        with open(__file__, "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._sections = self._read() | {scenario.name: text}
            whole = HEAD + "\n" + "\n".join(self._sections[name] for name in sorted(self._sections))
            new = self._path.with_suffix(".new")
            new.write_text(whole, encoding="utf-8")
            new.rename(self._path)
