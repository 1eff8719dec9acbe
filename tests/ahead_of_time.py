"""Compiles what the launchers launch, for GPUs that are not here.

Run as a program with the compute capabilities of its targets it prints a JSON object: for each call
and each target, what the PTX and the cubin say of every kernel launched, or why it cannot be
compiled. The calls are the launchers' own, with each argument that may be None given and not, and
those of steps of training (`TRAINING`). The rows of calls whose name ends in "aligned" begin at a
multiple of 16 bytes. With "--all" each also comes in the sizes and types that training rarely has.
The interpreter replaces Triton's compiler for a whole process, so the tests start this in one of
its own.
"""

import json
import re
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
import triton
from torch import Tensor
from transformers import BertConfig, BertForMaskedLM
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction

import weam_ext.ops.cross_entropy
from weam_ext.data.collate import Collator, Layout
from weam_ext.data.shards import Shards, open_prepared
from weam_ext.ops import gather as gather_operators
from weam_ext.ops import mask as mask_operators
from weam_ext.ops.constants import POLICIES, UNITS
from weam_ext.ops.triton import cross_entropy as head
from weam_ext.ops.triton import gather, mask
from weam_ext.prepare.pipeline import prepare
from weam_ext.prepare.settings import PrepareSettings
from weam_ext.text.bitext import BitextSource, MonolingualSource
from weam_ext.text.tokenizer import wordpiece
from weam_ext.text.toy_corpus import sentence_pairs, vocabulary
from weam_ext.train.objectives import MLM, TLM, WEAM, Masking, Objective, WordAligned

Call = Callable[[], Any]
CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
FLOATS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
WIDE = FLOATS | {"float64": torch.float64}


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


# ------------------------------------------------------------------------ what launchers may get


def gather_calls(name: str, dtype: torch.dtype, width: int) -> dict[str, Call]:
    """Both passes, of a batch without links, with hard ones and with soft ones."""
    masked, positions = 32, 64
    hard = integers(positions + 1), integers(100), None, None
    soft = *hard[:2], torch.zeros(100), torch.zeros(100)
    cases = {
        "no links": (0, (None,) * 4),
        "links, no exchange": (0, hard),
        "soft links, no exchange": (0, soft),
        "links": (16, hard),
        "soft links": (16, soft),
    }

    def call(launch: Callable[..., Tensor], rows: int, exchanged: int, links: Any) -> Tensor:
        values = torch.zeros(rows, width, dtype=dtype)
        numbers = (integers(n) for n in (masked, positions, exchanged, positions))
        return launch(values, *numbers, *links)

    aligned = " aligned" if width % 8 == 0 and width >= 512 else ""  # 16 bytes for each thread
    calls: dict[str, Call] = {}
    for case, (exchanged, links) in cases.items():
        forward = partial(call, gather.gather_rows, positions, exchanged, links)
        backward = partial(call, gather.gather_rows_backward, masked + exchanged, exchanged, links)
        calls[f"gather, {case} {name} {width}{aligned}"] = forward
        calls[f"gather backward, {case} {name} {width}{aligned}"] = backward
    return calls


def head_calls(name: str, dtype: torch.dtype, vocabulary: int) -> dict[str, Call]:
    """With and without the gradient of a bias, in training and in measuring."""
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    padded = -(-vocabulary // 64) * 64

    def call(differentiate: bool, with_bias: bool) -> tuple[Tensor, Tensor]:
        d_bias = torch.zeros(padded, dtype=wide) if with_bias else None
        logits, weights = torch.zeros(2, padded, dtype=dtype), torch.zeros(2, dtype=wide)
        return head.cross_entropy_(logits, integers(2), weights, differentiate, d_bias)

    cases = {"": (True, True), ", no bias": (True, False), ", no gradient": (False, False)}
    return {
        f"head{case} {name} {vocabulary} aligned": partial(call, *given)
        for case, given in cases.items()
    }


def mask_call(
    length: int,
    policy: str,
    unit: str,
    exact: bool,
    *,
    exchange: bool = True,
    sequences: int = 2,
    seed: int = 1 << 40,
    thresholds: tuple[int, int, int] = (1 << 30, 2 << 30, 3 << 30),
    mask_id: int = 103,
    choices: int = 1000,
    capacity: int = 700,
) -> Any:
    ids, size = integers(sequences, length), sequences * length
    linked = exchange or policy == "exclusive"
    links = (integers(size + 1), integers(100)) if linked else (None, None)
    return mask.mask_tokens(
        ids, ids, integers(sequences), *links, integers(choices), seed, *thresholds, mask_id,
        capacity, 300 if exchange else 0, policy, unit, exact,
    )  # fmt: skip


def mask_calls(length: int) -> dict[str, Call]:
    """Every kind of masking, with and without exchanged rows."""
    return {
        f"mask {policy} {unit}{', exact' * exact}{', exchange' * exchange} {length}": partial(
            mask_call, length, policy, unit, exact, exchange=exchange
        )
        for policy, unit, exact, exchange in product(POLICIES, UNITS, (True, False), (True, False))
    }


NUMBERS: dict[str, dict[str, Any]] = {
    # Triton compiles anew for 1, for multiples of 16 and for what takes 64 bits.
    "seed 0": {"seed": 0},
    "seed 1": {"seed": 1},
    "seed 5": {"seed": 5},
    "a negative seed": {"seed": -7},
    "a seed of 32 bits": {"seed": (1 << 32) - 1},
    "nothing masked": {"thresholds": (0, 1 << 30, 1 << 31)},
    "the lowest rate": {"thresholds": (1, 1 << 30, 1 << 31)},
    "all masked": {"thresholds": (1 << 32, 1 << 32, 1 << 32)},
    "all random": {"thresholds": (1 << 30, 0, 1 << 32)},
    "all kept": {"thresholds": (1 << 30, 0, 0)},
    "mask_id 0": {"mask_id": 0},
    "mask_id 1": {"mask_id": 1},
    "one choice": {"choices": 1},
    "one sequence, one row": {"sequences": 1, "capacity": 1},
}


def number_calls(length: int) -> dict[str, Call]:
    """Masking with numbers of other kinds."""
    return {
        f"mask, {what}{', exact' * exact} {length}": partial(
            mask_call, length, "exclusive", "word", exact, **numbers
        )
        for (what, numbers), exact in product(NUMBERS.items(), (False, True))
    }


# ----------------------------------------------------------------------------- what training gives

TRAINING: dict[str, tuple[type[Objective], dict[str, Any], str]] = {
    "MLM": (MLM, {}, "pairs"),
    "TLM": (TLM, {}, "pairs"),
    "word-aligned": (WordAligned, {}, "pairs"),
    "WEAM": (WEAM, {}, "pairs"),
    "WEAM, some alone": (WEAM, {}, "mixed"),
    "WEAM, monolingual": (WEAM, {}, "alone"),
    "WEAM, soft links": (WEAM, {"soft": True}, "mixed"),
    "WEAM, apart": (WEAM, {"together": False}, "pairs"),
    "WEAM, separate head": (WEAM, {"head": "separate"}, "mixed"),
    "WEAM, separate head, monolingual": (WEAM, {"head": "separate"}, "alone"),
    "WEAM, language head": (WEAM, {"head": "language"}, "mixed"),
    "WEAM, first layer": (WEAM, {"exchange_layer": 1}, "mixed"),
    "WEAM, first layer, separate head, soft links": (
        WEAM, {"exchange_layer": 1, "head": "separate", "soft": True}, "pairs",
    ),
}  # fmt: skip
"""Objectives, their options, and of what text a batch is."""


@cache
def prepared() -> tuple[Any, Shards]:
    """A tokenizer, and 40 pairs and 20 sentences of monolingual text."""
    tokenizer = wordpiece(vocabulary(), "the test's vocabulary")
    directory = Path(tempfile.mkdtemp())
    pairs = sentence_pairs("toku", 60)
    text, alone = directory / "text.txt", directory / "alone.txt"
    text.write_text("".join(f"{p.source} ||| {p.target}\n" for p in pairs[:40]))
    alone.write_text("".join(f"{p.target}\n" for p in pairs[40:]))
    sources = [BitextSource("mir-tok", (str(text),)), MonolingualSource("tok", str(alone))]
    prepare(sources, tokenizer, directory / "out", PrepareSettings(posteriors=True))
    return tokenizer, open_prepared(directory / "out")[1]["train"]


def training_step(kind: type[Objective], options: dict[str, Any], text: str, half: bool) -> None:
    """Forward, backward and a held-out measurement of a small model."""
    tokenizer, shards = prepared()
    given = dict(options)
    layout = Layout(soft=given.pop("soft", False), together=given.pop("together", True),
                    languages=given.get("head") == "language")  # fmt: skip
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=64, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64,
    )  # fmt: skip
    model = BertForMaskedLM(config)
    if kind is WEAM:
        given |= {"layout": layout, "languages": 2}
    if kind is WordAligned:
        given["initial"] = BertForMaskedLM(config).base_model
    masking = Masking.of(tokenizer, seed=3, probability=0.3, device=torch.device("cpu"))
    objective = kind(model, masking, **given)
    alone = (shards.corpus == 1).nonzero()[0].tolist()
    members = {"pairs": [0, 1, 2], "mixed": [0, alone[0], 1], "alone": alone[:3]}[text]

    def batch_in(layout: Layout) -> Any:
        return Collator(tokenizer, layout)(shards, [(k, k) for k in members])

    with torch.autocast("cpu", torch.bfloat16) if half else nullcontext():
        loss = objective(batch_in(objective.layout)).loss
    loss.backward()
    with torch.no_grad():
        objective(batch_in(Layout(languages=layout.languages)), heldout=True)


def both_ways(launch: Callable[..., Any], plain: Callable[..., Any]) -> Callable[..., Any]:
    """Launches, which here compiles and no more, and computes what the kernel would have."""

    def run(*given: Any) -> Any:
        launch(*given)
        return plain(*given)

    return run


def through_the_launchers() -> None:
    """Let the operators call the launchers for CPU tensors too, as they do for a GPU's."""
    operators = (
        (gather_operators._gather_op, gather_operators._gather, gather.gather_rows),
        (gather_operators._gather_backward_op, gather_operators._gather_backward,
         gather.gather_rows_backward),
        (mask_operators._mask_op, mask_operators._mask, mask.mask_tokens),
    )  # fmt: skip
    for operator, plain, launch in operators:
        operator.register_kernel("cpu", both_ways(launch, plain))
    of_head = both_ways(head.cross_entropy_, weam_ext.ops.cross_entropy._cross_entropy_)
    weam_ext.ops.cross_entropy._cross_entropy_ = of_head


def training_calls() -> dict[str, Call]:
    return {
        f"training: {name}{', bfloat16' * half}": partial(training_step, *case, half)
        for (name, case), half in product(TRAINING.items(), (False, True))
    }


# ------------------------------------------------------------------------------------- compiling


def calls(everything: bool) -> dict[str, Call]:
    """By name; `everything` takes some minutes for each target."""
    found = training_calls()
    for name, dtype in (WIDE if everything else FLOATS).items():
        for width in (1024, 768, 65, 48, 1) if everything else (768, 65):
            found |= gather_calls(name, dtype, width)
    for name, dtype in WIDE.items():
        for size in (119_547, 30_522) if everything else (119_547,):
            found |= head_calls(name, dtype, size)
    # One of each power of two that is sorted, and of those that 16 divides or not.
    brief = (5, 40, 128, 129, 384, 2000)
    lengths = (1, 5, 16, 40, 100, 128, 129, 130, 200, 255, 256, 300, 384, 512, 2000)
    for length in lengths if everything else brief:
        if everything:
            found |= mask_calls(length)
        else:
            found[f"mask exclusive span {length}"] = partial(
                mask_call, length, "exclusive", "span", True
            )
    return found | mask_calls(128) | number_calls(128)


def compiled(call: Call, capability: int) -> list[dict[str, Any]] | str:
    """The kernels that a call launches, compiled and not run; or what the compiler says."""
    kernels: list[Any] = []
    launch = JITFunction.run

    def compile_only(self: Any, *arguments: Any, **settings: Any) -> None:
        kernels.append(launch(self, *arguments, **(settings | {"warmup": True})))

    driver.set_active(Absent(capability))
    JITFunction.run = compile_only
    try:
        call()
    except triton.TritonError as error:  # of the compiler, or of ptxas
        return str(error)
    finally:
        JITFunction.run = launch
    return [report(kernel) for kernel in kernels]


@cache
def report(kernel: Any) -> dict[str, Any]:
    ptx, ttir = kernel.asm["ptx"], kernel.asm["ttir"]
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        command = [CUOBJDUMP, "-res-usage", file.name]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    used = {what: int(number) for what, number in re.findall(r"([A-Z]+):(\d+)", said)}
    programs = re.findall(r"(%\S+) = tt\.get_(?:program_id x|num_programs x)", ttir)
    return {
        "kernel": kernel.metadata.name,
        "target": re.findall(r"^\.target (\w+)", ptx, re.MULTILINE)[0],
        "registers": used["REG"],
        # No kernel has arrays of its own: what lies in local memory was spilled.
        "spilled_bytes": used["STACK"] + used["LOCAL"],
        "shared_bytes": kernel.metadata.shared,
        "barriers": len(re.findall(r"\bbar\.sync\b", ptx)),
        "barriers_in_loops": barriers_in_loops(ptx),
        "loads": sorted(set(re.findall(r"ld\.global\S*", ptx))),
        "stores": sorted(set(re.findall(r"st\.global\S*", ptx))),
        "uses_of_programs": sorted(
            operation
            for name in programs
            for operation, used in re.findall(r"= (\S+) .*?(%[\w#]+)", ttir)
            if used == name
        ),
    }


def barriers_in_loops(ptx: str) -> int:
    """Those between a label and a jump back to it."""
    lines, labels, repeated = ptx.splitlines(), dict[str, int](), set[int]()
    for at, line in enumerate(lines):
        if label := re.match(r"(\$L\w+):", line):
            labels[label[1]] = at
        elif (jump := re.search(r"\bbra\S*\s+(\$L\w+);", line)) and jump[1] in labels:
            repeated |= {*range(labels[jump[1]], at)}
    return sum("bar.sync" in lines[at] for at in repeated)


if __name__ == "__main__":
    parser = ArgumentParser()
    parser.add_argument("targets", type=int, nargs="+")
    parser.add_argument("--all", action="store_true", dest="everything")
    options = parser.parse_args()
    through_the_launchers()
    found = {
        name: {target: compiled(call, target) for target in options.targets}
        for name, call in calls(options.everything).items()
    }
    json.dump(found, sys.stdout, indent=1)
