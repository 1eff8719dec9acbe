"""Fine-tuning on one language, selection, and prediction on all: through transformers' Trainer."""

import hashlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from transformers import PrinterCallback, TrainerCallback, TrainingArguments, set_seed

from weam_ext.common.errors import InputError
from weam_ext.common.files import content_digest
from weam_ext.model.loading import load_model
from weam_ext.text.bitext import blocks
from weam_ext.text.tokenizer import load_tokenizer
from weam_ext.transfer.encoder import longest_states, mask_ready_made, to_device
from weam_ext.transfer.families.formats import TEST
from weam_ext.transfer.noise import Noise
from weam_ext.transfer.results import CORRELATIONS, UNLABELLED, Evaluation, Score
from weam_ext.transfer.robust import RobustTrainer
from weam_ext.transfer.tasks import Examples, Recipe, order

ENGLISH, ORACLE = "english", "oracle"
SHOT_EPOCHS = 10


@dataclass(frozen=True)
class Setting:
    """What is trained on: zero-shot (the source), translate-train (a translation of its training
    set), translate-train-all (both together, all languages), few-shot (the source, then a few
    examples of the target)."""

    name: str
    shots: int = 0

    def __str__(self) -> str:
        return f"{self.name}-{self.shots}" if self.shots else self.name


def parse_setting(text: str) -> Setting:
    """The command line's `--settings`; `InputError` for anything else."""
    if text in ("zero-shot", "translate-train", "translate-train-all"):
        return Setting(text)
    name, _, number = text.rpartition("-")
    if name == "few-shot" and number.isdecimal() and int(number):
        return Setting(name, int(number))
    raise InputError(
        f"--settings {text}: none of zero-shot, translate-train, translate-train-all, few-shot-K"
    )


@dataclass(frozen=True)
class Plan:
    """All that decides a fine-tuning but for the encoder, the family and the examples."""

    setting: Setting
    recipe: Recipe
    source: str
    seed: int
    way: str = "plain"
    radius: float = 0.1
    noises: tuple[Noise, ...] = ()
    augmentation: tuple[Noise, ...] = ()
    precision: str = "fp32"
    device: str = "cpu"

    @property
    def by_length(self) -> bool:
        """Whether batches are of examples alike in length, which leaves a GPU less padding."""
        return self.device != "cpu"


@dataclass
class Selection:
    """The best epoch for the source and for each language, and what it scored."""

    best: dict[str, tuple[float, int]] = field(default_factory=dict)
    scores: list[dict[str, float]] = field(default_factory=list)

    def add(self, epoch: int, scores: Mapping[str, float]) -> None:
        self.scores.append(dict(scores))
        for language, score in scores.items():
            if language not in self.best or score > self.best[language][0]:
                self.best[language] = score, epoch

    @property
    def epochs(self) -> set[int]:
        return {epoch for _, epoch in self.best.values()}


class FineTuning:
    """One cell: a model with a new head, trained, selected and put to the test."""

    def __init__(self, directory: Path, family: Any, plan: Plan, work: Path) -> None:
        self.directory, self.family, self.plan, self.work = directory, family, plan, work
        self.tokenizer = load_tokenizer(str(directory))
        # The head's weights and all that follows come of the seed.
        set_seed(plan.seed)
        self.model = _load(directory, family, plan.recipe.max_length, self.tokenizer)
        if plan.device != "cpu":
            mask_ready_made(self.model.base_model)

    def evaluate(self, examples: Examples) -> tuple[list[Evaluation], dict[str, Any]]:
        """Train, and predict every test set; what is returned beside says what was trained on."""
        setting = self.plan.setting
        train = list(examples.train)
        if setting.name == "translate-train":
            (target,) = examples.test
            if not examples.translated.get(target):
                raise InputError(f"no translated training set of {target}")
            train = examples.translated[target]
        elif setting.name == "translate-train-all":
            missing = [
                code
                for code in examples.test
                if code not in examples.translated and code != self.plan.source
            ]
            if missing:
                raise InputError(f"no translated training set of {', '.join(missing)}")
            train += [x for found in examples.translated.values() for x in found]
        dropped = sum(not x.aligned for x in train)
        train = [x for x in train if x.aligned]
        if not train:
            raise InputError("nothing to train on")
        selection = self._train(train, examples.select, self.plan.recipe.epochs)
        facts: dict[str, Any] = {
            "trained_on": len(train),
            "training_sha256": content_digest({"train": [x.content() for x in examples.train]}),
            "dropped_misaligned": dropped,
            "selected_on": {language: len(found) for language, found in examples.select.items()},
            "selection_scores": selection.scores,
            "best_epoch": {language: epoch for language, (_, epoch) in selection.best.items()},
            **examples.notes,
        }
        own = self._own(selection)
        test = self._few_shot if setting.shots else self._test
        return list(test(selection, own, examples)), facts

    def _own(self, selection: Selection) -> str:
        source = self.plan.source
        return source if source in selection.best else f"{source}-{source}"

    # --------------------------------------------------------------------------------- training

    def _train(
        self, train: Sequence[Any], select: Mapping[str, Sequence[Any]], epochs: float
    ) -> Selection:
        if self.plan.way == "augment":
            train = [*train, *_augmented(train, self.plan)]
        rows = self.family.encode(self.tokenizer, train, self.plan.recipe.max_length)
        selection = Selection()
        self.work.mkdir(parents=True, exist_ok=True)
        owner = self

        class Select(TrainerCallback):  # type: ignore[misc]
            def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                epoch = len(selection.scores)
                owner.model.eval()
                scores = {language: owner.score(language, x) for language, x in select.items()}
                owner.model.train()
                selection.add(epoch, scores)
                save_file(owner._state(), owner.work / f"{epoch}.safetensors")
                for path in owner.work.glob("*.safetensors"):
                    if int(path.stem) not in selection.epochs:
                        path.unlink()

        trainer = self._trainer(rows, epochs, [Select()] if select else [])
        trainer.remove_callback(PrinterCallback)  # its summary is no result
        trainer.train()
        self.model.eval()
        return selection

    def _trainer(self, rows: list[dict[str, Any]], epochs: float, callbacks: list[Any]) -> Any:
        recipe, plan = self.plan.recipe, self.plan
        steps = max(1, -(-len(rows) // recipe.batch_size))
        warmup = recipe.warmup if recipe.warmup >= 1 else recipe.warmup * steps * epochs
        arguments = TrainingArguments(
            output_dir=str(self.work / "trainer"),
            per_device_train_batch_size=recipe.batch_size,
            per_device_eval_batch_size=recipe.batch_size * 2,
            learning_rate=recipe.learning_rate,
            num_train_epochs=epochs,
            # Never more than a tenth: a small training set would be all warm-up.
            warmup_steps=int(min(warmup, steps * epochs / 10)),
            weight_decay=0.0,
            seed=plan.seed,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=not sys.stderr.isatty(),
            bf16=plan.precision == "bf16-autocast",
            use_cpu=plan.device == "cpu",
            dataloader_pin_memory=plan.device != "cpu",
            **(_without_waiting() if plan.device != "cpu" else {}),
        )
        return RobustTrainer(
            model=self.model,
            args=arguments,
            train_dataset=[_model_inputs(row) for row in rows],
            data_collator=self.family.collator(self.tokenizer),
            callbacks=callbacks,
            way=plan.way,
            radius=plan.radius,
        )

    def _state(self) -> dict[str, Any]:
        return {n: v.detach().cpu().clone() for n, v in self.model.state_dict().items()}

    def _restore(self, epoch: int) -> None:
        self.model.load_state_dict(load_file(self.work / f"{epoch}.safetensors"))

    # ------------------------------------------------------------------------------- prediction

    def predict(self, examples: Sequence[Any]) -> list[str]:
        """The prediction of each example, as the family writes it."""
        rows = self.family.encode(self.tokenizer, examples, self.plan.recipe.max_length)
        outputs = self._outputs(rows)
        found: list[str] = self.family.decode(outputs, rows, examples)
        return found

    def _outputs(self, rows: list[dict[str, Any]]) -> Any:
        """A model's output of each row, on the host, less the padding's."""
        sent = [
            (members, self._forward([rows[k] for k in members])) for members in self._batches(rows)
        ]
        found: list[tuple[NDArray[np.float32], ...]] = [()] * len(rows)
        for members, tensors in sent:  # now that all is under way, a GPU is waited for
            arrays = [tensor.cpu().numpy() for tensor in tensors]
            for place, k in enumerate(members):
                found[k] = tuple(array[place] for array in arrays)
        if any(not np.isfinite(array).all() for arrays in found for array in arrays):
            raise InputError(f"{self.directory}: fine-tuning diverged: outputs are not finite")
        columns = list(zip(*found, strict=True)) or [()]
        return columns if len(columns) > 1 else columns[0]

    def _batches(self, rows: Sequence[dict[str, Any]]) -> list[list[int]]:
        """The rows of each batch, alike in length, the longest first.

        Of shorter ones a GPU gets more: as many as have the tokens of a batch of the longest.
        """
        sizes = [_width(row["input_ids"]) for row in rows]
        order = sorted(range(len(rows)), key=lambda k: -sizes[k])
        number = self.plan.recipe.batch_size * 2
        if not self.plan.by_length:
            return [list(members) for members in blocks(order, number)]
        batches, room = [], number * self.plan.recipe.max_length
        while order:
            end = max(number, room // sizes[order[0]])
            batches.append(order[:end])
            order = order[end:]
        return batches

    @torch.inference_mode()
    def _forward(self, rows: Sequence[dict[str, Any]]) -> list[torch.Tensor]:
        """The model's outputs of a batch, float32, on its device, which is not waited for."""
        batch = self.family.collator(self.tokenizer)([_model_inputs(row) for row in rows])
        for name in ("labels", "start_positions", "end_positions"):
            batch.pop(name, None)
        device = self.model.device
        with torch.autocast(device.type, torch.bfloat16, self.plan.precision == "bf16-autocast"):
            outputs = self.model(**to_device(batch, device))
        names = ("start_logits", "end_logits") if "start_logits" in outputs else ("logits",)
        return [outputs[name].float() for name in names]

    def score(self, language: str, examples: Sequence[Any]) -> float:
        """The first metric on some examples; 0 of none."""
        if not examples:
            return 0.0
        predictions = self.predict(examples)
        scores = self.family.score(examples, predictions, language)
        gold = [self.family.gold(x) for x in examples]
        return value(self.family.metrics[0], scores[self.family.metrics[0]], gold, predictions)

    # ------------------------------------------------------------------------------------- tests

    def _test(self, selection: Selection, own: str, examples: Examples) -> Iterator[Evaluation]:
        """Every test set with the epoch that the source chose, and with its own language's."""
        done: dict[tuple[str, int], Evaluation] = {}
        for epoch in sorted(selection.epochs):
            self._restore(epoch)
            for language, found in examples.test.items():
                best = (selection.best.get(code, (0, -1))[1] for code in (own, language))
                english, oracle = best
                if epoch in (english, oracle):
                    done[language, epoch] = self.evaluation(language, found)
                if epoch == english:
                    for noise in self.plan.noises:
                        if noise.applies(language):
                            yield self.evaluation(language, found, noise, selection=ENGLISH)
            if epoch == selection.best[own][1]:
                for language, found in examples.unlabelled.items():
                    yield self.evaluation(language, found, selection=ENGLISH, split=UNLABELLED)
        for language in examples.test:
            for name, chooser in ((ENGLISH, own), (ORACLE, language)):
                if chooser in selection.best:
                    row = done[language, selection.best[chooser][1]]
                    yield Evaluation(**(vars(row) | {"selection": name}))

    def evaluation(
        self, language: str, examples: Sequence[Any], noise: Noise | None = None,
        notes: dict[str, Any] | None = None, split: str = TEST, **named: Any
    ) -> Evaluation:  # fmt: skip
        """A test set as it is put, distorted where noise is given, and its predictions."""
        put = [noise.example(x, language) for x in examples] if noise else examples
        predictions = self.predict(put)
        content = [x.content() for x in examples]
        scored = examples if split == TEST else []
        return Evaluation(
            language=language,
            metrics=self.family.score(scored, predictions[: len(scored)], language),
            split=split,
            keys=[x.key for x in examples],
            noise=str(noise or ""),
            lengths=[x.length for x in examples],
            gold=[self.family.gold(x) for x in examples],
            predictions=predictions,
            notes={"sha256": content_digest({"examples": content})} | (notes or {}),
            **named,
        )

    def _few_shot(self, selection: Selection, own: str, examples: Examples) -> Iterator[Evaluation]:
        """After the source a few examples of each language; nothing is selected on it."""
        epoch = selection.best[own][1]
        base = load_file(self.work / f"{epoch}.safetensors")
        for language, found in examples.test.items():
            if language == own:
                continue
            salt = str(self.plan.seed)
            pool = sorted(examples.shots[language], key=lambda x: order(f"{salt}|{x.group}"))
            shots = balanced(pool, self.plan.setting.shots, self.family)
            if not shots:
                raise InputError(f"no examples of {language} to draw shots from")
            self.model.load_state_dict(base)
            self._train(shots, {}, SHOT_EPOCHS)
            yield self.evaluation(language, found, selection=ENGLISH, notes={"shots": len(shots)})


def balanced(pool: Sequence[Any], shots: int, family: Any) -> list[Any]:
    """The first `shots` examples of each class, or in all where examples have no class."""
    if not isinstance(getattr(pool[0] if pool else None, "label", None), str) or not family.labels:
        return [x for x in pool if x.aligned][:shots]
    taken: dict[str, int] = {}
    found = []
    for x in pool:
        if taken.get(x.label, 0) < shots:
            taken[x.label] = taken.get(x.label, 0) + 1
            found.append(x)
    return found


def value(
    metric: str, scores: Sequence[Score], gold: Sequence[str], predictions: Sequence[str]
) -> float:
    """A metric of a test set."""
    if metric in CORRELATIONS:
        return correlation(metric, [float(x) for x in gold], [float(x) for x in predictions])
    whole = sum(score.whole for score in scores)
    return sum(score.part for score in scores) / whole if whole else 0.0


def correlation(metric: str, gold: Sequence[float], predictions: Sequence[float]) -> float:
    """Pearson's or Spearman's, by scipy; 0 where a side is constant."""
    from scipy import stats

    if len(set(gold)) < 2 or len(set(predictions)) < 2:
        return 0.0
    function = stats.pearsonr if metric == "pearson" else stats.spearmanr
    return float(function(gold, predictions).statistic)


def _augmented(train: Sequence[Any], plan: Plan) -> Iterator[Any]:
    """A distorted copy of each example; the answers of questions stay where they are."""
    for x in train:
        seed = hashlib.sha256(f"{plan.seed}|{x.key}".encode()).digest()[0]
        noise = plan.augmentation[seed % len(plan.augmentation)]
        yield noise.example(x, plan.source, salt=f"augment {plan.seed}")


def _width(ids: Sequence[Any]) -> int:
    """Tokens of a row, or of the longest of its choices."""
    return len(ids) if isinstance(ids[0], int) else max(map(len, ids))


def _without_waiting() -> dict[str, Any]:
    """What the Trainer is told so that no step waits for a GPU, and batches have less padding."""
    grouped: dict[str, Any] = {"group_by_length": True}
    if "train_sampling_strategy" in {each.name for each in fields(TrainingArguments)}:
        grouped = {"train_sampling_strategy": "group_by_length"}  # its name in later versions
    # The filter asks of each loss whether it is a number; that outputs are is checked at the end.
    return {"logging_nan_inf_filter": False, "accelerator_config": {"non_blocking": True}} | grouped


_KEPT = ("input_ids", "attention_mask", "token_type_ids", "labels", "start_positions",
         "end_positions")  # fmt: skip


def _model_inputs(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in _KEPT if name in row}


def _load(directory: Path, family: Any, max_length: int, tokenizer: Any) -> Any:
    """The encoder with a new head; `InputError` where it is not all there or does not fit."""

    def needed(model: Any, name: str) -> bool:
        return name.startswith(f"{model.base_model_prefix}.") and "pooler." not in name

    kind, what = family.model_class, "whole encoder for this task"
    model = load_model(kind, str(directory), what, needed=needed, **family.head)
    longest_states(model.base_model, tokenizer, directory, max_length)
    return model
