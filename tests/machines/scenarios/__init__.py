"""THE TABLE of scenarios, in the order they are played."""

from . import only_program, serial_lines, watchdogs

SCENARIOS = [
    *serial_lines.SCENARIOS,
    *only_program.SCENARIOS,
    *watchdogs.SCENARIOS,
]
