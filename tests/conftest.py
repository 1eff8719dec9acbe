"""Before any test module is imported: no network, no chatter, one thread, no deadlines.

Without a GPU, Triton's kernels run in its interpreter, which is chosen before they are imported.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Threads of such small models wait for each other whenever another program wants a processor.
os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "OMP_NUM_THREADS": "1",
}

import hypothesis
import pytest
import torch

torch.set_num_threads(1)
# Programs in the background of a script are started deaf to control-C, and so are their children.
signal.signal(signal.SIGINT, signal.default_int_handler)
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
# A busy machine is no failure; on CI the examples are the same ones every time.
hypothesis.settings.register_profile(
    "weam", deadline=None, max_examples=40, derandomize="CI" in os.environ
)
hypothesis.settings.load_profile("weam")


@pytest.fixture(params=["torch", "triton"])
def device(request: Any) -> Iterator[str]:
    """Where tensors lie for the operators to go through torch, and through Triton's kernels."""
    if request.param == "torch":
        yield "cpu"
    elif torch.cuda.is_available():
        yield "cuda"
    else:
        from interpreted import triton_on_cpu

        with triton_on_cpu():
            yield "cpu"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the small runs of a module read."""
    from runs import write_inputs

    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def whole(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed."""
    from runs import flags

    from weam_ext.train import loop as train

    run = tmp_path_factory.mktemp("whole") / "run"
    train.main(flags(inputs, run))
    return run
