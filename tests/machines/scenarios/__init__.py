"""THE TABLE of scenarios, in the order they are played."""

from . import boots, network_files, ocf_testers, only_program, replicated, serial_lines, storage, watchdogs

SCENARIOS = [
    *serial_lines.SCENARIOS,
    *only_program.SCENARIOS,
    *watchdogs.SCENARIOS,
    *boots.SCENARIOS,
    *storage.SCENARIOS,
    *ocf_testers.SCENARIOS,
    *network_files.SCENARIOS,
    *replicated.SCENARIOS,
]
