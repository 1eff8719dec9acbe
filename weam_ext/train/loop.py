"""Train a multilingual encoder on parallel text: `python -m weam_ext.train`.

Without arguments it trains a small BERT on the built-in corpus, which takes about two minutes on a
laptop's processor. With your own text and model:

    python -m weam_ext.train --bitext en-fr=train.en.xz train.fr.xz --bitext en-de=pairs.tsv.gz \
        --model bert-base-multilingual-cased --output runs/weam

The bitext is aligned and tokenised once (`weam_ext.prepare`), then read from memory-mapped shards.
A run that was stopped, however it was stopped, goes on when the same command is given again.
`torchrun --nproc-per-node 8 -m weam_ext.train ...` trains the same on eight GPUs.
"""

import hashlib
import math
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from transformers.utils import logging as transformers_logging

from weam_ext.common import checkpoint_state
from weam_ext.common.errors import InputError, say
from weam_ext.common.files import owned
from weam_ext.common.ranks import Ranks
from weam_ext.common.settings import identity
from weam_ext.data.collate import Collator
from weam_ext.data.loader import Feed, Request
from weam_ext.data.sampler import Place
from weam_ext.data.shards import Shards
from weam_ext.model.attention import set_padding
from weam_ext.model.families import layers_of
from weam_ext.model.sums import Ratio, Sums
from weam_ext.ops.repeatable import repeatable
from weam_ext.train import checkpoint
from weam_ext.train.build import (
    check_share,
    keep_initial,
    open_data,
    prepared_directory,
    run_languages,
    run_model,
    run_order,
    run_tokenizer,
)
from weam_ext.train.heldout import Heldout
from weam_ext.train.model_card import model_card
from weam_ext.train.objectives import OBJECTIVES, Masking
from weam_ext.train.optimizer import (
    NO_MASTERS,
    MasterWeights,
    body,
    clipped_step,
    freeze,
    parameter_groups,
    schedule,
)
from weam_ext.train.parallel import Parallel, own_device, own_part
from weam_ext.train.records import Records
from weam_ext.train.run_directory import open_run, run_directory
from weam_ext.train.settings import (
    BUILTIN_STEPS,
    LR_BUILTIN,
    LR_PRETRAINED,
    LR_SCRATCH,
    TrainSettings,
    parse,
)
from weam_ext.train.throughput import NORM, Flops, Meter


class Trainer:
    """One run: its model, data and optimizer, and the steps done so far."""

    def __init__(
        self, settings: TrainSettings, run_dir: Path, resumed: Path | None, ranks: Ranks
    ) -> None:
        self.settings, self.run_dir, self.ranks = settings, run_dir, ranks
        self.device = own_device(settings.device)
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        begin: dict[str, Any] = {"step": 0, "place": {}, "beside": {}}
        self.state = (
            checkpoint_state.read_state(resumed) if resumed else begin
        )  # checked when opened
        with ranks.together():
            if resumed and ranks.first:
                checkpoint_state.check_files(run_dir, self.state["beside"])
        tokenizer = run_tokenizer(settings, run_dir, ranks)
        # Before the text is read, which may take hours: what cannot be trained is told at once.
        with ranks.together():
            check_share(settings, ranks.world)
            self._build_model(tokenizer, len(run_languages(settings, run_dir)), resumed)
        self._place_model()
        directory = prepared_directory(settings, tokenizer, run_dir, ranks)
        self.description, splits, self.content = open_data(
            settings, directory, tokenizer, run_dir, ranks
        )
        with ranks.together():
            self._build_data(tokenizer, splits, resumed)
        self._build_optimizer(resumed)
        if not resumed:
            found = checkpoint.digests_beside(run_dir) if ranks.first else {}
            self.state["beside"] = ranks.broadcast(found)

    def _build_model(self, tokenizer: Any, languages: int, resumed: Path | None) -> None:
        settings = self.settings
        self.model = run_model(settings, tokenizer, resumed)
        set_padding(self.model, settings.padding, self.device, self._precision)
        kind = OBJECTIVES[settings.objective]
        if kind.needs_initial:
            keep_initial(self.model, self.run_dir, resumed, self.ranks)
        masking = Masking.of(
            tokenizer,
            device=self.device,
            seed=settings.seed,
            probability=settings.mask_probability,
            policy=settings.masking,
            unit=settings.mask_unit,
            exact=settings.mask_exact,
            shares=settings.mask_shares,
        )
        self.objective = kind.build(
            self.model,
            masking,
            settings,
            languages=languages,
            initial=self.run_dir / checkpoint.INITIAL,
        )
        if resumed:
            checkpoint.load_own(resumed, self.objective, self.model)
        freeze(self.model, settings.freeze_layers)
        if not any(parameter.requires_grad for parameter in self.objective.parameters()):
            raise InputError(f"--freeze-layers {settings.freeze_layers}: nothing is left to train")
        if settings.gradient_checkpointing:
            self.model.gradient_checkpointing_enable({"use_reentrant": False})

    def _place_model(self) -> None:
        """Put it where it is trained; all processes together."""
        settings = self.settings
        self.objective.to(self.device)
        self.flops = Flops(self.objective, self.device, settings.peak_tflops)
        working = torch.bfloat16 if self._precision == "bf16" else None
        sharded = self.ranks.world > 1 and settings.parallel == "fsdp"
        self.masters = NO_MASTERS
        if working:
            for module in self.objective.beside:
                for parameter in module.parameters():  # not buffers, such as rotary frequencies
                    parameter.data = parameter.data.bfloat16()
            if not sharded:  # the parts that a process holds are masters themselves
                self.masters = MasterWeights(self.objective.parameters())
        if settings.compile:
            for layer in layers_of(self.objective.predictor.encoder.module):
                layer.compile(dynamic=True)
        self.parallel = Parallel(
            self.objective, self.ranks, settings.parallel, self.device, working
        )

    def _build_data(self, tokenizer: Any, splits: dict[str, Shards], resumed: Path | None) -> None:
        settings, shards = self.settings, splits["train"]
        collate = Collator(
            tokenizer, self.objective.layout, links=settings.links, seed=settings.seed
        )
        order = run_order(settings, shards, collate, self.ranks.world)
        self.pairs = len(shards)
        one_pass = math.ceil(order.batches_a_pass / settings.accumulate)
        self.steps = settings.steps or (BUILTIN_STEPS if settings.builtin else one_pass)
        self.step: int = self.state["step"]
        self.place = Place.of(self.state["place"])
        self.feed = Feed(
            order,
            shards,
            collate,
            place=self.place,
            device=self.device,
            workers=settings.workers,
            rank=self.ranks.rank,
            world=self.ranks.world,
        )
        self.heldout = Heldout(
            splits["heldout"],
            tokenizer,
            self.objective,
            batch_size=settings.batch_size,
            device=self.device,
        )
        self.measured: dict[str, dict[str, float]] = self.state.get("measured", {})

    def _build_optimizer(self, resumed: Path | None) -> None:
        settings = self.settings
        own = LR_PRETRAINED if settings.model else LR_SCRATCH
        self.lr: float = settings.lr or (LR_BUILTIN if settings.builtin else own)
        groups = parameter_groups(
            self.objective,
            layers=self.model.config.num_hidden_layers,
            lr=self.lr,
            decay=settings.weight_decay,
            layer_decay=settings.layer_lr_decay,
        )
        for group in groups:
            group["params"] = [self.masters.of(parameter) for parameter in group["params"]]
        self.optimizer = torch.optim.AdamW(groups, betas=settings.betas, fused=True)
        self.body = body(self.objective, self.model.config.num_hidden_layers)
        after = max(1, self.steps - settings.head_steps)
        self.schedule = schedule(
            self.optimizer,
            settings.schedule,
            warmup=round(settings.warmup * after),
            steps=after,
            before=settings.head_steps,
            factor=LR_SCRATCH / self.lr,
        )
        if resumed:
            checkpoint.load_optimizer(
                resumed / checkpoint_state.OPTIMIZER, self.objective, self.optimizer, self.masters
            )
            self.schedule.load_state_dict(self.state["schedule"])
            rates = self.state["schedule"]["_last_lr"]
            for group, lr in zip(self.optimizer.param_groups, rates, strict=True):
                group["lr"] = lr

    @property
    def _precision(self) -> str:
        by_device = "bf16" if self.device.type == "cuda" else "fp32"
        return by_device if self.settings.precision == "auto" else str(self.settings.precision)

    def _autocast(self) -> Any:
        if self._precision == "bf16-autocast":
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()

    # ---------------------------------------------------------------------------------- one step

    def train_step(self) -> tuple[Sums, list[Request]]:
        """One optimizer step: the sums of all processes, and what its batches were.

        Nothing in it waits for the device.
        """
        self.objective.train()
        self._seed_generators()
        total: Sums | None = None
        requests = []
        for micro in range(self.settings.accumulate):
            batch, request = next(self.feed)
            # Into the masters go gradients of all processes.
            last = micro + 1 == self.settings.accumulate or bool(self.masters)
            with self.parallel.accumulating(last):
                with self._autocast():
                    sums = self.parallel.forward(batch)
                sums.loss.backward()  # type: ignore[no-untyped-call]
            self.masters.take_gradients()
            total = sums if total is None else total + sums
            requests.append(request)
            self.place = request.following
        assert total is not None
        total = self.parallel.total(total)
        norm = self._update(total)
        self.step += 1
        norms = {NORM: Ratio(norm, torch.ones_like(norm))}
        return replace(total, ratios=total.ratios | norms), requests

    def _seed_generators(self) -> None:
        # Anew for each step, so that nothing of the generators needs saving.
        words = f"{self.settings.seed} {self.step} {self.ranks.rank}".encode()
        torch.manual_seed(int.from_bytes(hashlib.blake2b(words, digest_size=7).digest()))

    def _update(self, total: Sums) -> Tensor:
        """Take the step; the norm of the gradient, in all processes together, before clipping."""
        if self.step < self.settings.head_steps:
            for parameter in self.body:  # AdamW leaves what has no gradient, and its moments, alone
                self.masters.of(parameter).grad = None
        # The loss is a mean over all that was predicted in the step, known only after the last
        # batch; what the processes' gradients were divided by is their number.
        scale = self.ranks.world / total.count.clamp(min=1)
        norm = clipped_step(self.optimizer, scale.float(), self.settings.clip)
        self.masters.give()
        self.schedule.step()
        return norm

    @property
    def learning_rate(self) -> float:
        """That of the head and the last layer."""
        return float(self.schedule.get_last_lr()[-1])

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Held-out means of both predictions with the true links, for each corpus and for all."""
        self.objective.eval()
        with self._autocast():
            self.measured = self.heldout.measure(self.objective)
        self.parallel.after_measuring()
        with self.ranks.together():
            for corpus, means in self.measured.items():
                for name, value in means.items():
                    if not math.isfinite(value):
                        raise InputError(
                            f"step {self.step}: the held-out {name} of {corpus} is {value}; the "
                            "run was stopped, and nothing of this step was saved"
                        )
        return self.measured

    def check(self, meter: Meter) -> None:
        """Raise `InputError` where a step since the last reading came to what is no number."""
        found = [each for each in self.ranks.gather(meter.broken(self.step)) if each]
        with self.ranks.together():
            if found:
                samples = [sample for each in found for sample in each.samples]
                step, what, value, _ = found[0]
                raise InputError(
                    f"step {step}: the {what} is {value}; the run was stopped, and nothing of this "
                    f"step or a later one was saved (its batch: samples {_some(samples)} of the "
                    "training split; a lower --lr may help)"
                )

    def _check_weights(self) -> None:
        parameters = [own_part(parameter.detach()) for parameter in self.objective.parameters()]
        with self.ranks.together():
            if not torch.stack([part.isfinite().all() for part in parameters]).all():
                raise InputError(
                    f"step {self.step}: after it weights are not finite; the run was stopped, and "
                    "nothing of this step was saved (a lower --lr may help)"
                )

    def describe(self) -> str:
        """Says what will be trained, on what, and for how long."""
        count = sum(parameter.numel() for parameter in self.model.parameters())
        processes = f" in {self.ranks.world} processes" if self.ranks.world > 1 else ""
        return (
            f"{self.settings.objective}: {count:,} parameters, {self.pairs:,} samples, "
            f"{self.steps:,} steps on {self.device.type}{processes}, output in {self.run_dir}"
        )

    def records(self) -> Records:
        """Where its figures go."""
        settings = self.settings
        return Records(
            self.run_dir,
            self.step,
            self.steps,
            tensorboard=settings.tensorboard,
            wandb=settings.wandb,
            settings=identity(settings),
            main=self.ranks.first,
        )

    def save(self, measured_now: bool) -> Path:
        """Write the checkpoint of this step; `InputError` for weights that are no numbers."""
        self._check_weights()
        settings, record = self.settings, identity(self.settings)
        state = {
            "settings": record,
            "content": self.content,
            # What came of those that were left to be decided.
            "resolved": {
                "lr": self.lr,
                "steps": self.steps,
                "batch_size": None if settings.batch_tokens else settings.batch_size,
                "precision": self._precision,
            },
            "schedule": self.schedule.state_dict(),
            "place": asdict(self.place),
            "heldout": self.measured["all"]["loss"] if measured_now else None,
            "measured": self.measured,
            "beside": self.state["beside"],
        }
        card = model_card(
            record,
            self.description["corpora"],
            self.measured,
            objective=self.objective.CARD,
            step=self.step,
            steps=self.steps,
            license=settings.license,
            data_license=settings.data_license,
        )
        with self.ranks.together():
            return checkpoint.save(
                self.run_dir,
                self.step,
                self.objective,
                self.model,
                self.optimizer,
                state,
                masters=self.masters,
                keep=settings.keep,
                card=card,
                main=self.ranks.first,
            )


def _some(numbers: list[int], most: int = 16) -> str:
    told = ", ".join(map(str, numbers[:most]))
    return told + (f" and {len(numbers) - most} more" if len(numbers) > most else "")


# ---------------------------------------------------------------------------------------- the loop


def train(trainer: Trainer) -> Path:
    """Run the remaining steps, with logs, evaluations and checkpoints; the last checkpoint."""
    settings, steps = trainer.settings, trainer.steps
    tenth = max(1, steps // 10)
    with trainer.records() as records, signals() as received:
        if trainer.step == 0:
            records.heldout(0, trainer.evaluate())
        meter = Meter(trainer.flops, trainer.step, trainer.ranks.world)
        last = trainer.step == steps
        while not last:
            meter.add(*trainer.train_step())
            # Asked once a step: a signal that comes later, in an evaluation, ends the next step.
            last = trainer.step == steps or trainer.parallel.any(bool(received))
            # What is saved is logged, so that no mean is of steps on both sides of a checkpoint.
            saved = last or trainer.step % (settings.save_every or tenth) == 0
            measured = trainer.step == steps or trainer.step % (settings.eval_every or tenth) == 0
            logged = saved or trainer.step % settings.log_every == 0
            if logged or measured:
                trainer.check(meter)
            if logged:
                means, speed = meter.read(trainer.step, steps, trainer.feed.waited)
                records.step(trainer.step, means | {"lr": trainer.learning_rate}, speed)
            pause = time.perf_counter()
            if measured:
                records.heldout(trainer.step, trainer.evaluate())
            if saved:
                trainer.save(measured)
            meter.pause(time.perf_counter() - pause)
    if trainer.step < steps:
        if trainer.ranks.first:
            say(f"stopped after step {trainer.step}; the same command goes on from there")
        sys.exit(128 + (received or [signal.SIGTERM])[0])
    return checkpoint.checkpoints(trainer.run_dir)[-1]


@contextmanager
def signals() -> Iterator[list[int]]:
    """SIGINT and SIGTERM let the step finish: the list gets their number. Twice is at once."""
    received: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, signal.SIG_DFL)

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def main(arguments: Sequence[str] | None = None) -> None:
    transformers_logging.disable_progress_bar()
    settings = parse(arguments)
    if settings.builtin:
        # Its matrices gain little from a second thread, and threads that wait for each other lose
        # tenfold when another program wants a core (569 s against 111 s on two cores).
        torch.set_num_threads(1)
    device = torch.device(settings.device).type
    with ExitStack() as ownership:
        ownership.enter_context(repeatable(settings.deterministic))
        ranks = ownership.enter_context(Ranks.of_environment(device))
        opened = None
        with ranks.together():
            if ranks.first:
                ownership.enter_context(owned(run_directory(settings)))
                opened = open_run(settings)
        run_dir, resumed = ranks.broadcast(opened) or (Path(), None)
        trainer = Trainer(settings, run_dir, resumed, ranks)
        if ranks.first:
            if resumed:
                say(f"going on from {resumed}")
            say(trainer.describe())
        last = train(trainer)
        if ranks.first:
            print(last)
