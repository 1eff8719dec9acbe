"""Compiles what the launchers launch, for GPUs that are not here.

Run as a program it prints a JSON object: for each call in `CALLS` and each target, what ptxas and
the PTX say of every kernel launched. The rows of calls with "aligned" in the name begin at a
multiple of 16 bytes. The interpreter replaces Triton's compiler for a whole process, so the
tests start this in one of its own.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction

from weam_ext.kernels import gather, head, mask
from weam_ext.mask import POLICIES, UNITS

CAPABILITIES = (80, 90)
PTXAS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas"


class Absent:
    """The driver of a GPU that is not there: all that a compilation asks of one."""

    def __init__(self, capability: int) -> None:
        self.target = GPUTarget("cuda", capability, 32)

    def get_current_target(self) -> GPUTarget:
        return self.target

    def get_current_device(self) -> int:
        return self.target.arch

    def get_current_stream(self, _: int) -> int:
        return 0


def integers(*shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.int64)


def gather_calls(name: str, dtype: torch.dtype, width: int) -> dict[str, Callable[[], Any]]:
    masked, exchanged, positions = 32, 16, 64
    hard = integers(positions + 1), integers(100), None, None
    soft = *hard[:2], torch.zeros(100), torch.zeros(100)

    def call(launch: Callable[..., Tensor], rows: int, exchanged: int, *links: Any) -> Tensor:
        values = torch.zeros(rows, width, dtype=dtype)
        numbers = (integers(n) for n in (masked, positions, exchanged, positions))
        return launch(values, *numbers, *links)

    backward = gather.gather_rows_backward
    aligned = " aligned" if width % 8 == 0 else ""
    return {
        f"{what} {name} {width}{aligned}": run
        for what, run in {
            "gather": lambda: call(gather.gather_rows, positions, exchanged, *hard),
            "gather, soft": lambda: call(gather.gather_rows, positions, exchanged, *soft),
            "gather backward": lambda: call(backward, masked + exchanged, exchanged, *hard),
            "gather backward, soft": lambda: call(backward, masked + exchanged, exchanged, *soft),
            "gather backward, no exchange": lambda: call(backward, masked, 0, *[None] * 4),
        }.items()
    }


def head_calls(name: str, dtype: torch.dtype, vocabulary: int) -> dict[str, Callable[[], Any]]:
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    padded = -(-vocabulary // 64) * 64

    def call(with_offset: bool, differentiate: bool) -> tuple[Tensor, Tensor]:
        offset = torch.zeros(padded, dtype=wide) if with_offset else None
        logits, weights = torch.zeros(2, padded, dtype=dtype), torch.zeros(2, dtype=wide)
        return head.cross_entropy_(logits, offset, integers(2), weights, differentiate)

    return {
        f"head {name} {vocabulary} aligned": lambda: call(True, True),
        f"head, no offset {name} {vocabulary} aligned": lambda: call(False, True),
        f"head, no gradient {name} {vocabulary} aligned": lambda: call(True, False),
        f"head, no offset, no gradient {name} {vocabulary} aligned": lambda: call(False, False),
    }


def mask_call(length: int, policy: str, unit: str, exact: bool) -> Any:
    ids, seed, thresholds = integers(2, length), 1 << 40, (1 << 30, 2 << 30, 3 << 30)
    links = integers(2 * length + 1), integers(100)
    return mask.mask_tokens(
        ids, ids, integers(2), *links, integers(1000), seed, *thresholds, 103, 700, 300,
        policy, unit, exact,
    )  # fmt: skip


FLOATS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
CALLS: dict[str, Callable[[], Any]] = {}
for name, dtype in FLOATS.items():
    for width in (768, 1024, 65):
        CALLS |= gather_calls(name, dtype, width)
for name, dtype in (FLOATS | {"float64": torch.float64}).items():
    for vocabulary in (119_547, 30_522):
        CALLS |= head_calls(name, dtype, vocabulary)
for policy, unit, exact in product(POLICIES, UNITS, (False, True)):
    rate = "exact" if exact else "Bernoulli"
    CALLS[f"mask {policy} {unit} {rate} aligned"] = partial(mask_call, 2000, policy, unit, exact)
for length in (1, 5, 40, 128):  # a block of less than a warp, and of one
    CALLS[f"mask of {length}"] = partial(mask_call, length, "exclusive", "span", True)


def compiled(call: Callable[[], Any], capability: int) -> list[dict[str, Any]]:
    """The kernels that a call launches, compiled and not run."""
    kernels = []
    launch = JITFunction.run

    def compile_only(self: Any, *arguments: Any, **settings: Any) -> None:
        kernels.append(launch(self, *arguments, **(settings | {"warmup": True})))

    driver.set_active(Absent(capability))
    JITFunction.run = compile_only
    try:
        call()
    finally:
        JITFunction.run = launch
    return [report(kernel, capability) for kernel in kernels]


@cache
def report(kernel: Any, capability: int) -> dict[str, Any]:
    ptx = kernel.asm["ptx"]
    target = re.search(r"^\.target (\S+)", ptx, re.MULTILINE)
    said = subprocess.run(
        [PTXAS, "-v", "--gpu-name", target[1], "-o", "/dev/null", "-"] if target else [],
        input=ptx, capture_output=True, text=True, check=True,
    ).stderr  # fmt: skip
    spilled = re.findall(r"(\d+) bytes spill", said)
    registers = re.findall(r"Used (\d+) registers", said)
    return {
        "kernel": kernel.metadata.name,
        "target": target[1] if target else None,
        "spilled_bytes": sum(map(int, spilled)),
        "registers": int(registers[0]),
        "loads": sorted(set(re.findall(r"ld\.global\S*", ptx))),
        "stores": sorted(set(re.findall(r"st\.global\S*", ptx))),
    }


if __name__ == "__main__":
    found = {
        name: {capability: compiled(call, capability) for capability in CAPABILITIES}
        for name, call in CALLS.items()
    }
    json.dump(found, sys.stdout, indent=1)
