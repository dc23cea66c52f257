"""THE TABLE of scenarios, in the order they are played."""

from . import serial_lines

SCENARIOS = [
    *serial_lines.SCENARIOS,
]
