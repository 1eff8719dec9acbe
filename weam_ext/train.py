"""Train a multilingual encoder on parallel text: `python -m weam_ext.train`.

Without arguments it trains a small BERT on the built-in corpus, which takes about two minutes on a
laptop's processor. With your own text and model:

    python -m weam_ext.train --bitext en-fr=train.en.xz train.fr.xz --bitext en-de=pairs.tsv.gz \
        --model bert-base-multilingual-cased --output runs/weam

The bitext is aligned and tokenised once (`weam_ext.prepare`), then read from memory-mapped shards.
A run that was stopped, however it was stopped, goes on when the same command is given again.
"""

import argparse
import hashlib
import json
import math
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import yaml
from torch import Tensor, nn
from transformers import get_linear_schedule_with_warmup
from transformers.utils import logging as transformers_logging

from weam_ext import checkpoint
from weam_ext.batch import Collator, Order
from weam_ext.corpus import BitextSource
from weam_ext.distributed import Ranks
from weam_ext.errors import InputError, run, say
from weam_ext.files import rename_durably, write_durably
from weam_ext.invented import LANGUAGES, sentence_pairs, vocabulary
from weam_ext.model import BUILTIN_CONFIG, new_model, pretrained_model
from weam_ext.objectives import MaskedPredictor, Masking, Sums, objective
from weam_ext.prepare import default_workers, prepare, settings_of, sources_of
from weam_ext.records import Records
from weam_ext.settings import (
    BUILTIN_STEPS,
    LR_BUILTIN,
    LR_PRETRAINED,
    LR_SCRATCH,
    builtin,
    identity,
    parse,
    read_config,
)
from weam_ext.shards import open_prepared
from weam_ext.tokenizer import fingerprint, load_tokenizer, wordpiece

# ------------------------------------------------------------------------------------------- data


def builtin_bitexts(directory: Path, pairs: int) -> list[BitextSource]:
    """Write the invented corpus as 'source ||| target' files, one a language."""
    directory.mkdir(parents=True, exist_ok=True)
    sources = []
    for seed, language in enumerate(LANGUAGES[1:]):  # no sentence of the pivot twice
        path = directory / f"{LANGUAGES[0]}-{language}.txt"
        made = sentence_pairs(language, pairs, seed=seed)
        lines = [f"{p.source} ||| {p.target}\n" for p in made]
        write_durably(path, "".join(lines).encode())
        sources.append(BitextSource(path.stem, (str(path),)))
    return sources


def prepared_directory(options: argparse.Namespace, tokenizer: Any, run_dir: Path) -> Path:
    """The shards to train on: those given, those of this run, or new ones."""
    if options.prepared:
        return Path(options.prepared)
    directory = run_dir / "prepared"
    if not directory.exists():
        sources = (
            builtin_bitexts(run_dir / "builtin", options.builtin_pairs)
            if builtin(options)
            else sources_of(options)
        )
        prepare(
            sources, tokenizer, directory, settings_of(options), workers=default_workers(Ranks())
        )
    return directory


# ----------------------------------------------------------------------------------------- the run


class Trainer:
    """One run: its model, data and optimizer, and the steps done so far."""

    def __init__(self, options: argparse.Namespace, run_dir: Path, resumed: Path | None) -> None:
        self.options = options
        self.run_dir = run_dir
        self.device = torch.device(options.device)
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        self.tokenizer, self.model = self._load(resumed)
        directory = prepared_directory(options, self.tokenizer, run_dir)
        description, splits = open_prepared(directory)
        if description["tokenizer"]["sha256"] != fingerprint(self.tokenizer):
            raise InputError(f"{directory}: was prepared with another tokenizer")
        self.train_shards, self.heldout_shards = splits["train"], splits["heldout"]
        if not len(self.heldout_shards):
            raise InputError(f"{directory}: too few sentence pairs to hold any out")

        self.objective = objective(options.objective)
        self.collate = Collator(
            self.tokenizer,
            pair=self.objective.pair,
            links=options.links,
            link_mode=options.link_mode,
            seed=options.seed,
        )
        self.collate_heldout = Collator(self.tokenizer, pair=True, link_mode=options.link_mode)
        self.order = Order(self.train_shards.lengths, options.batch_size, options.seed)
        pairs_a_step = options.batch_size * options.accumulate
        one_pass = math.ceil(len(self.train_shards) / pairs_a_step)
        self.steps = options.steps or (BUILTIN_STEPS if builtin(options) else one_pass)

        self.predictor = MaskedPredictor(self.model, exchange_weight=options.exchange_weight)
        self.predictor.to(self.device)
        self.masking = self._masking(
            options.seed,
            policy=options.masking,
            unit=options.mask_unit,
            exact=options.mask_exact,
            shares=tuple(options.mask_shares),
        )
        # Another key, so that held-out sentences never share their masks with training ones; and
        # always single tokens, independently, so that the losses of runs can be compared.
        self.masking_heldout = self._masking(options.seed + (1 << 32))
        self.optimizer = self._optimizer()
        self.schedule = get_linear_schedule_with_warmup(
            self.optimizer, round(options.warmup * self.steps), self.steps
        )
        self.step = 0
        if resumed:
            self._restore(resumed)

    def _load(self, resumed: Path | None) -> tuple[Any, Any]:
        options = self.options
        tokenizer = self._load_tokenizer()
        if resumed or options.model:
            spec = str(resumed or options.model)
            return tokenizer, pretrained_model(spec, tokenizer, options.max_length)
        config = options.model_config or BUILTIN_CONFIG
        return tokenizer, new_model(config, tokenizer, options.max_length, options.seed)

    def _load_tokenizer(self) -> Any:
        """The run's tokenizer, from the directory in it that every checkpoint copies."""
        directory = self.run_dir / checkpoint.TOKENIZER
        if not directory.exists():
            spec = self.options.tokenizer or self.options.model
            tokenizer = load_tokenizer(spec) if spec else wordpiece(vocabulary(), "built-in")
            beside = directory.with_suffix(".part")
            tokenizer.save_pretrained(beside)
            rename_durably(beside, directory)
        return load_tokenizer(str(directory))

    def _masking(self, seed: int, **settings: Any) -> Masking:
        return Masking.of(
            self.tokenizer,
            device=self.device,
            seed=seed,
            probability=self.options.mask_probability,
            **settings,
        )

    def _optimizer(self) -> torch.optim.AdamW:
        """AdamW without decay on biases and normalisation, as for BERT."""
        decayed = [p for p in self.model.parameters() if p.dim() > 1]
        others = [p for p in self.model.parameters() if p.dim() <= 1]
        own = LR_PRETRAINED if self.options.model else LR_SCRATCH
        lr = self.options.lr or (LR_BUILTIN if builtin(self.options) else own)
        return torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": self.options.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=lr,
            fused=self.device.type == "cuda",
        )

    def _autocast(self) -> Any:
        precision = self.options.precision
        if precision == "bf16" or (precision == "auto" and self.device.type == "cuda"):
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()

    # ---------------------------------------------------------------------------------- one step

    def train_step(self) -> tuple[Sums, int]:
        """One optimizer step; its sums, and the tokens it saw."""
        self.predictor.train()
        # Seeded anew for each step, so that nothing of the generators needs saving.
        torch.manual_seed((self.options.seed << 32) + self.step)
        total: Sums | None = None
        tokens = 0
        for micro in range(self.options.accumulate):
            members = self.order.batch(self.step * self.options.accumulate + micro)
            batch = self.collate(self.train_shards, members).to(self.device)
            masked = self.masking(batch, exchange=self.objective.exchange)
            with self._autocast():
                sums = self.predictor(batch, masked)
            sums.loss.backward()
            total = sums if total is None else total + sums
            tokens += batch.tokens
        assert total is not None
        self._update(total.count)
        self.step += 1
        return total, tokens

    def _update(self, count: Tensor) -> None:
        # The loss is a mean over all masked tokens of the step, known only after the last batch.
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        torch._foreach_div_(gradients, count.clamp(min=1).to(gradients[0].dtype))
        nn.utils.clip_grad_norm_(self.model.parameters(), self.options.clip)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad(set_to_none=True)

    @torch.no_grad()
    def evaluate(self) -> dict[str, dict[str, float]]:
        """Held-out means of both predictions with the true links, for each bitext and for all."""
        self.predictor.eval()
        results: dict[str, Sums] = {}
        for number, name in enumerate(self.heldout_shards.names):
            samples = (self.heldout_shards.corpus == number).nonzero()[0]
            samples = samples[self.heldout_shards.lengths[samples].argsort(kind="stable")]
            for begin in range(0, len(samples), self.options.batch_size):
                members = [
                    (k, k) for k in samples[begin : begin + self.options.batch_size].tolist()
                ]
                batch = self.collate_heldout(self.heldout_shards, members).to(self.device)
                with self._autocast():
                    sums = self.predictor(batch, self.masking_heldout(batch, exchange=True))
                results[name] = results[name] + sums if name in results else sums
        everything = list(results.values())
        whole = sum(everything[1:], everything[0])
        return {"all": whole.means()} | {name: sums.means() for name, sums in results.items()}

    # ------------------------------------------------------------------------------- checkpoints

    def save(self) -> Path:
        """Write the checkpoint of this step."""
        state = {"settings": identity(self.options), "schedule": self.schedule.state_dict()}
        return checkpoint.save(
            self.run_dir,
            self.step,
            self.model,
            self.optimizer,
            state,
            self.options.keep,
        )

    def _restore(self, resumed: Path) -> None:
        state = checkpoint.load_state(resumed)
        checkpoint.load_optimizer(resumed / "optimizer.safetensors", self.model, self.optimizer)
        self.schedule.load_state_dict(state["schedule"])
        for group, lr in zip(
            self.optimizer.param_groups, state["schedule"]["_last_lr"], strict=True
        ):
            group["lr"] = lr
        self.step = state["step"]


# ---------------------------------------------------------------------------------------- the loop


def train(trainer: Trainer) -> Path:
    """Run the remaining steps, with logs, evaluations and checkpoints; the last checkpoint."""
    options, steps = trainer.options, trainer.steps
    tenth = max(1, steps // 10)
    with Records(trainer.run_dir, trainer.step, options.tensorboard) as records, signals() as stop:
        if trainer.step == 0:
            records.heldout(0, trainer.evaluate())
        clock, tokens, begun = time.perf_counter(), 0, trainer.step
        unseen: list[Sums] = []
        unseen_tokens = 0
        last = trainer.step == steps
        while not last:
            lr = trainer.schedule.get_last_lr()[0]
            sums, seen = trainer.train_step()
            unseen.append(sums)
            tokens += seen
            unseen_tokens += seen
            # Asked once a step: a signal that comes later, in an evaluation, ends the next step.
            last = trainer.step == steps or bool(stop)
            if last or trainer.step % options.log_every == 0:
                whole = sum(unseen[1:], unseen[0])
                means = whole.means(exchange=trainer.objective.exchange)  # waits for the device
                means["masked_share"] = means["masked"] / unseen_tokens
                unseen, unseen_tokens = [], 0
                seconds = time.perf_counter() - clock
                left = seconds / (trainer.step - begun) * (steps - trainer.step)
                records.step(trainer.step, steps, means, lr, tokens / seconds, left)
            pause = time.perf_counter()
            if trainer.step == steps or trainer.step % (options.eval_every or tenth) == 0:
                records.heldout(trainer.step, trainer.evaluate())
            if last or trainer.step % (options.save_every or tenth) == 0:
                trainer.save()
            clock += time.perf_counter() - pause
    if stop and trainer.step < steps:
        say(f"stopped after step {trainer.step}; the same command goes on from there")
        sys.exit(128 + stop[0])
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


# ---------------------------------------------------------------------------------- command line


def open_run(options: argparse.Namespace) -> tuple[Path, Path | None]:
    """The run's directory, with its settings in run.yaml, and the checkpoint to go on from."""
    settings = identity(options)
    mark = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:8]
    run_dir = options.output or Path("weam-out") / f"{options.objective}-{options.links}-{mark}"
    record = run_dir / "run.yaml"
    if record.exists():
        if options.resume == "never":
            raise InputError(f"{run_dir}: holds a run already; give another --output")
        before = read_config(record, set(vars(options)))
        changed = [name for name, value in settings.items() if before.get(name) != value]
        if changed:
            raise InputError(
                f"{run_dir}: holds a run with {changed[0]} {before.get(changed[0])}, not "
                f"{settings[changed[0]]}; give another --output"
            )
    elif run_dir.exists() and any(run_dir.iterdir()):
        raise InputError(f"{run_dir}: not empty, and no run; give another --output")
    else:
        run_dir.mkdir(parents=True, exist_ok=True)
        write_durably(run_dir / ".run.yaml.part", yaml.safe_dump(settings).encode())
        rename_durably(run_dir / ".run.yaml.part", record)
    return run_dir, _last_whole(run_dir)


def _last_whole(run_dir: Path) -> Path | None:
    for candidate in reversed(checkpoint.checkpoints(run_dir)):
        try:
            checkpoint.load_state(candidate)
        except InputError as error:
            say(f"passed over: {error}")
        else:
            return candidate
    return None


def main(arguments: Sequence[str] | None = None) -> None:
    transformers_logging.disable_progress_bar()
    options = parse(arguments)
    if builtin(options):
        # Its matrices gain little from a second thread, and threads that wait for each other lose
        # tenfold when another program wants a core (569 s against 111 s on two cores).
        torch.set_num_threads(1)
    run_dir, resumed = open_run(options)
    trainer = Trainer(options, run_dir, resumed)
    if resumed:
        say(f"going on from {resumed}")
    count = sum(p.numel() for p in trainer.model.parameters())
    say(
        f"{options.objective}: {count:,} parameters, {len(trainer.train_shards):,} pairs, "
        f"{trainer.steps:,} steps on {options.device}, output in {run_dir}"
    )
    print(train(trainer))


if __name__ == "__main__":
    run("weam_ext.train", main)
