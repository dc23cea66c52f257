"""THE TABLE of scenarios, in the order they are played."""

from . import network_files, only_program, replicated, serial_lines, storage, watchdogs

SCENARIOS = [
    *serial_lines.SCENARIOS,
    *only_program.SCENARIOS,
    *watchdogs.SCENARIOS,
    *storage.SCENARIOS,
    *network_files.SCENARIOS,
    *replicated.SCENARIOS,
]
