"""Evaluate encoders on downstream tasks: `python -m weam_ext.transfer`.

    python -m weam_ext.transfer --data DATA --output scores --seeds 5 \
        --models mbert=mbert weam=runs/a/step-00001000,runs/b/step-00001000 \
        --tasks xnli mlqa udpos udpos-probe tatoeba alignment --languages en de fr sw

Several directories of one name are pre-training seeds of one model. Every model is fine-tuned on
each task's English examples and predicts all languages; a grid of models, tasks, settings and seeds
that goes on where it stopped, and that several processes (or torchrun) share. The predictions lie
in OUTPUT/cells; `python -m weam_ext.report OUTPUT` makes a page of them.
"""

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import replace

import torch
from transformers.utils import logging as transformers_logging

from weam_ext.common.errors import InputError, Parser, say
from weam_ext.common.settings import add_flags, given
from weam_ext.ops.repeatable import repeatable
from weam_ext.transfer.grid import run_grid
from weam_ext.transfer.jobs import jobs_of
from weam_ext.transfer.models import encoders_of, identified
from weam_ext.transfer.results import record_models
from weam_ext.transfer.settings import PROBES, TransferSettings
from weam_ext.transfer.tasks import TASKS


def parse(arguments: Sequence[str] | None) -> TransferSettings:
    parser = Parser("weam_ext.transfer", (__doc__ or "").partition("\n\n")[0])
    add_flags(parser, TransferSettings)
    return TransferSettings(**given(parser, TransferSettings, arguments))


def _on_this_machine(settings: TransferSettings) -> TransferSettings:
    """With the device and the precision that "auto" stands for here."""
    _check_installed(settings.chosen_tasks)
    device = _one_device(settings.device)
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {device}: {str(error).splitlines()[0]}") from error
    precision = settings.precision
    if precision == "auto":
        precision = "bf16-autocast" if torch.device(device).type == "cuda" else "fp32"
    return replace(settings, device=device, precision=precision)


def _check_installed(tasks: Sequence[str]) -> None:
    """Retrieval and alignment need nothing but the base; what else is missing is told at once."""
    needed = {"accelerate", "scipy"} if set(tasks) & set(TASKS) else set()
    if set(tasks) & {"udpos", "panx", "masakhapos", "masakhaner", *PROBES}:
        needed |= {"seqeval"}
    if set(tasks) & set(PROBES):
        needed |= {"sklearn"}
    for name in sorted(needed):
        if importlib.util.find_spec(name) is None:
            raise InputError(f"needs {name}: pip install 'weam-ext[transfer]'")


def _one_device(wanted: str) -> str:
    """The device, and no other GPU in sight: the Trainer would spread a model over all it sees."""
    count = torch.cuda.device_count() if wanted.startswith(("auto", "cuda")) else 0
    if not count:
        return "cpu" if wanted == "auto" else wanted
    own = int(os.environ.get("LOCAL_RANK", "0")) % count
    if wanted.startswith("cuda:"):
        own = int(wanted[5:]) if wanted[5:].isdecimal() else count
        if own >= count:
            raise InputError(f"--device {wanted}: there are {count} GPUs, counted from 0")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
    os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[own]
    return "cuda"


def main(arguments: Sequence[str] | None = None) -> None:
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()  # what it reports of a loaded model is checked
    settings = _on_this_machine(parse(arguments))
    rank, ranks = (int(os.environ.pop(name, default)) for name, default in
                   (("RANK", "0"), ("WORLD_SIZE", "1")))  # fmt: skip
    # Cells are shared out, not split: the Trainer must not see torchrun's process group.
    for name in ("LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        os.environ.pop(name, None)
    models = identified(settings.model_directories())
    jobs = list(jobs_of(settings, models))
    record_models(settings.output, encoders_of(models))
    with repeatable(settings.device != "cpu"):
        tally = run_grid(jobs, settings.output, rank, ranks)
    say(
        f"{len(jobs)} cells: {tally.made} made, {tally.there} there already, "
        f"{tally.elsewhere} held by others, {len(tally.failed or ())} failed"
    )
    print(settings.output)
    if tally.failed:
        raise InputError(
            f"{len(tally.failed)} of {len(jobs)} cells failed; the first, "
            f"{tally.failed[0].cell.name}: {tally.failed[0].reason}"
        )
