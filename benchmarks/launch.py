"""Run one program and write what it took: `python -I -S launch.py REPORT PROGRAM [ARGUMENT ...]`.

A process of its own, and a small one: a program begins as a copy of the process that starts it, and
the kernel counts that copy's memory as the program's. Started from one that holds NumPy, nothing
would seem to need less than NumPy. What is left of this is Python's own 10 MiB.
"""

import json
import os
import sys
import time


def main() -> int:
    """REPORT gets seconds and bytes as JSON; the exit status is the program's, as a shell's."""
    report, *command = sys.argv[1:]
    start = time.perf_counter()
    child = os.posix_spawnp(command[0], command, os.environ)
    _, status, usage = os.wait4(child, 0)
    wall = time.perf_counter() - start
    figures = {
        "wall_s": wall,
        "user_s": usage.ru_utime,
        "system_s": usage.ru_stime,
        # Bytes on macOS, KiB elsewhere; of the largest among the program and those it waited for.
        "peak_bytes": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
    }
    with open(report, "w") as file:  # noqa: PTH123 (pathlib would double the imports)
        json.dump(figures, file)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
