"""What ranks do together: where one fails, all leave, and one of them says why."""

import subprocess
import sys
from pathlib import Path

import pytest
from runs import environment

DRIVER = """
from weam_ext.common.ranks import Ranks
from weam_ext.common.errors import InputError, run
import sys

def main():
    failing, place = int(sys.argv[1]), sys.argv[2]
    with Ranks.of_environment() as ranks:
        with ranks.together():
            if place == "before" and ranks.rank == failing:
                raise InputError("no room")
            with ranks.together():
                if place == "within" and ranks.rank == failing:
                    raise InputError("no room")
            if place == "after" and ranks.rank == failing:
                raise InputError("no room")

run("driver", main)
"""


@pytest.mark.parametrize(("failing", "place"), [(0, "within"), (1, "before"), (1, "after")])
def test_a_stretch_within_another(tmp_path: Path, failing: int, place: str) -> None:
    (tmp_path / "driver.py").write_text(DRIVER)
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        str(tmp_path / "driver.py"), str(failing), place,
    ]  # fmt: skip
    done = subprocess.run(
        command, env=environment(), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if line.startswith("driver: ")]
    assert said == ["driver: error: no room"]
    assert "Traceback" not in done.stderr.partition("elastic")[0]
