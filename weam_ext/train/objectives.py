"""What is learned: MLM, TLM, WEAM and word-aligned, over any Hugging Face masked language model.

An objective is a module that turns a batch into sums: `objective(batch)`. The first three mask
tokens and predict them; they differ in whether the two sentences of a pair see each other, and in
whether the predictions of linked words are exchanged. The last draws the vectors of linked words
together. `objective(batch, heldout=True)` measures both predictions
of any of them in the same way, so that runs can be compared.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from weam_ext.common.errors import InputError
from weam_ext.common.registry import Registry
from weam_ext.common.settings import Settings, at_least, option
from weam_ext.data.collate import LINKS, PIVOT, Batch, Layout
from weam_ext.data.token_links import LINK_MODES
from weam_ext.model.encoder import Encoder
from weam_ext.model.predictor import MaskedPredictor
from weam_ext.model.sums import Ratio, Sums
from weam_ext.ops.mask import MASKING_POLICIES, MaskedRows

OBJECTIVES: "Registry[type[Objective]]" = Registry("objectives")
HEADS = ("shared", "separate", "language")


@dataclass(frozen=True)
class ObjectiveSettings(Settings, group="objective"):
    """What is learned, and the settings of the objectives."""

    objective: str = option("weam", "What is learned.", choices=OBJECTIVES, metavar="NAME")
    exchange_weight: float = option(
        1.0,
        "weam: the weight of the cross-lingual prediction; 0 is a control.",
        rule=at_least(0),
        metavar="LAMBDA",
    )
    exchange_head: str = option(
        "shared",
        "weam: the head of the cross-lingual prediction. separate has another transform and bias; "
        "language is told the language of the answer.",
        choices=HEADS,
    )
    exchange_layer: int | None = option(
        None,
        "weam: the layer, of 1 to L, whose vectors are exchanged. By default the last.",
        rule=at_least(1),
        metavar="K",
    )
    encode: str = option(
        "together",
        "weam: encode the sentences of a pair in one sequence, or each in its own.",
        choices=("together", "apart"),
    )
    links: str = option(
        "true",
        "weam and word-aligned: the links to learn from. The others are controls: shuffled "
        "permutes the target words, random links any words, as many as there were.",
        choices=LINKS,
    )
    link_mode: str = option(
        "all", "weam: how the links of words become links of tokens.", choices=LINK_MODES
    )
    soft_links: bool = option(
        False,
        "weam: weigh the vectors that a token is linked to by the posterior probabilities of the "
        "links; implies --posteriors.",
    )
    regularization: float = option(
        1.0,
        f"word-aligned: the weight of the distance of the '{PIVOT}' side (or else the source) to "
        "the initial model.",
        rule=at_least(0),
        metavar="W",
    )


@dataclass(frozen=True)
class Masking:
    """The masking of a run (see `weam_ext.ops.mask.mask_tokens`)."""

    seed: int
    probability: float
    mask_id: int
    replacements: Tensor
    """[K] int64 on the model's device: the vocabulary without its special tokens."""
    policy: str = "independent"
    unit: str = "token"
    exact: bool = False
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1)

    @classmethod
    def of(cls, tokenizer: Any, *, device: torch.device, **settings: Any) -> Self:
        """The masking with a tokenizer's ids; `settings` are the other fields."""
        special = set(tokenizer.all_special_ids)
        ordinary = [i for i in range(len(tokenizer)) if i not in special]
        return cls(
            mask_id=int(tokenizer.mask_token_id),
            replacements=torch.tensor(ordinary, device=device),
            **settings,
        )

    def heldout(self) -> "Masking":
        """Masks that no training sentence shares, of single tokens, independently: another key."""
        return replace(
            self, seed=self.seed + (1 << 32), policy="independent", unit="token", exact=False,
            shares=(0.8, 0.1, 0.1),
        )  # fmt: skip

    def __call__(self, batch: Batch, *, exchange: bool) -> MaskedRows:
        capacity, exchange_capacity = batch.capacities(self.probability, self.unit, self.exact)
        return MASKING_POLICIES[self.policy](
            batch.input_ids,
            batch.words,
            batch.draws,
            batch.links,
            seed=self.seed,
            probability=self.probability,
            shares=self.shares,
            mask_id=self.mask_id,
            replacements=self.replacements,
            capacity=capacity,
            exchange_capacity=exchange_capacity if exchange else 0,
            unit=self.unit,
            exact=self.exact,
        )


class Objective(nn.Module):
    """What a step computes: `objective(batch)`, sums whose `loss` and `count` make its mean loss.

    Args:
        model: a Hugging Face masked language model of a supported family.
        masking: how its tokens are masked.
        layout: how pairs are shown to it, where that is not `LAYOUT`.

    Attributes:
        beside: modules that it computes with and that are no part of it: neither trained nor saved.
    """

    CARD: ClassVar[str] = "an objective of its own"
    """What it is called on the model cards of what it trained, with its paper."""
    LAYOUT: ClassVar[Layout] = Layout()
    """How pairs are shown to the model."""
    masks: ClassVar[bool] = True
    """Whether tokens are masked and predicted, so that monolingual text can be learned too."""
    exchange: ClassVar[bool] = False
    """Whether each masked token is also predicted from the tokens it is linked to."""
    needs_initial: ClassVar[bool] = False
    """Whether the model before training is kept, for `build` to load."""

    def __init__(self, model: nn.Module, masking: Masking, *, layout: Layout | None = None) -> None:
        super().__init__()
        self.predictor = self._predictor(model)
        self.masking = masking
        self.heldout_masking = masking.heldout()
        self.beside: tuple[nn.Module, ...] = ()
        self.layout = layout or self.LAYOUT

    @classmethod
    def build(
        cls,
        model: Any,
        masking: Masking,
        settings: ObjectiveSettings,
        *,
        languages: int,
        initial: Path,
    ) -> Self:
        """The objective of a run over its model.

        Args:
            languages: how many there are in the text.
            initial: the directory of the model before training, where `needs_initial`.
        """
        return cls(model, masking)

    def _predictor(self, model: nn.Module) -> MaskedPredictor:
        return MaskedPredictor(model, exchange_weight=1.0)

    def forward(self, batch: Batch, *, heldout: bool = False) -> Sums:
        """The sums of a batch in the objective's layout; of a held-out one with links in any."""
        if heldout:
            return self._predict(batch, self.heldout_masking, exchange=True)
        return self.learn(batch)

    def learn(self, batch: Batch) -> Sums:
        """The sums of a batch to learn from."""
        return self._predict(batch, self.masking, exchange=self.exchange)

    def _predict(self, batch: Batch, masking: Masking, *, exchange: bool) -> Sums:
        sums: Sums = self.predictor(batch, masking(batch, exchange=exchange), exchange)
        return sums

    def heldout_loss(self, means: dict[str, float]) -> float:
        """The loss by which checkpoints are compared, of held-out means in the own layout."""
        return means["multilingual_loss"]


@OBJECTIVES.add("mlm")
class MLM(Objective):
    """Masked language modelling of each sentence alone (Devlin et al. 2019)."""

    CARD = "masked language modelling ([Devlin et al. 2019](https://arxiv.org/abs/1810.04805))"
    LAYOUT = Layout(together=False, linked=False)


@OBJECTIVES.add("tlm")
class TLM(Objective):
    """Masked language modelling of both sentences of a pair at once (Conneau & Lample 2019)."""

    CARD = (
        "translation language modelling ([Conneau & Lample 2019](https://arxiv.org/abs/1901.07291))"
    )


@OBJECTIVES.add("weam")
class WEAM(Objective):
    """Word-exchange aligning pre-training: TLM, and each masked token once more from its links.

    Yang et al. 2021 (arXiv:2106.01732). Over the masked tokens of pairs, L_mp + lambda * L_cp.

    Args:
        exchange_weight: lambda.
        head: of the cross-lingual prediction. "shared": the model's own; "separate": another,
            with the same output layer but its own transform and bias; "language": the model's own,
            which is told the language of the answer by a learned vector for each (from zero),
            added to the hidden vectors before both predictions.
        exchange_layer: the layer (1 .. L) whose hidden vectors are exchanged; None: the last.
        languages: how many there are, for "language".
    """

    CARD = (
        "word-exchange aligning pre-training ([Yang et al. 2021](https://arxiv.org/abs/2106.01732))"
    )
    exchange = True

    def __init__(
        self,
        model: nn.Module,
        masking: Masking,
        *,
        layout: Layout | None = None,
        exchange_weight: float = 1.0,
        head: str = "shared",
        exchange_layer: int | None = None,
        languages: int = 0,
    ) -> None:
        self._settings: dict[str, Any] = {
            "exchange_weight": exchange_weight,
            "separate_head": head == "separate",
            "exchange_layer": exchange_layer,
            "languages": languages if head == "language" else 0,
        }
        super().__init__(model, masking, layout=layout)

    @classmethod
    def build(
        cls,
        model: Any,
        masking: Masking,
        settings: ObjectiveSettings,
        *,
        languages: int,
        initial: Path,
    ) -> Self:
        layers = model.config.num_hidden_layers
        if settings.exchange_layer and settings.exchange_layer > layers:
            raise InputError(
                f"--exchange-layer {settings.exchange_layer}: the model has only {layers} layers"
            )
        layout = Layout(
            together=settings.encode == "together",
            link_mode=settings.link_mode,
            soft=settings.soft_links,
            languages=settings.exchange_head == "language",
        )
        return cls(
            model,
            masking,
            layout=layout,
            exchange_weight=settings.exchange_weight,
            head=settings.exchange_head,
            exchange_layer=settings.exchange_layer,
            languages=languages,
        )

    def _predictor(self, model: nn.Module) -> MaskedPredictor:
        return MaskedPredictor(model, **self._settings)

    def heldout_loss(self, means: dict[str, float]) -> float:
        weight: float = self._settings["exchange_weight"]
        return means["multilingual_loss"] + weight * means["cross_lingual_loss"]


@OBJECTIVES.add("word-aligned")
class WordAligned(Objective):
    """Linked words get vectors that are near each other (Cao, Kitaev & Klein 2020).

    Sentences are encoded alone, nothing is masked, and a word stands at its last token. With the
    hidden vectors h of the last layer, h0 of the initial encoder, a link (a, b) for every two words
    that are linked to each other alone, and the words w of the pivot's side,

        L = (sum |h_a - h_b|^2 + regularization * sum |h_w - h0_w|^2) / links.

    Args:
        initial: the encoder before training; it is not trained, and not part of this module.
        regularization: 1 in the paper.
    """

    CARD = (
        "alignment of the vectors of linked words "
        "([Cao et al. 2020](https://arxiv.org/abs/2002.03518))"
    )
    LAYOUT = Layout(together=False, link_mode="last", one_to_one=True, anchors=True)
    masks = False
    needs_initial = True

    @classmethod
    def build(
        cls,
        model: Any,
        masking: Masking,
        settings: ObjectiveSettings,
        *,
        languages: int,
        initial: Path,
    ) -> Self:
        before = type(model).from_pretrained(initial, dtype=torch.float32).base_model
        before.set_attn_implementation(model.config._attn_implementation)
        return cls(
            model,
            masking,
            initial=before.to(masking.replacements.device),
            regularization=settings.regularization,
        )

    def __init__(
        self,
        model: nn.Module,
        masking: Masking,
        *,
        initial: nn.Module,
        regularization: float = 1.0,
    ) -> None:
        super().__init__(model, masking)
        for parameter in model.parameters():  # not the head: it has no part in the loss
            parameter.requires_grad_(False)
        for parameter in self.predictor.encoder.module.parameters():
            parameter.requires_grad_(True)
        # No submodule: those are trained, saved and sharded.
        self._initial = Encoder(initial.requires_grad_(False).eval())
        self.beside = (initial,)
        self.regularization = regularization

    def learn(self, batch: Batch) -> Sums:
        """The sums of a batch; `link_distance` and `anchor_distance` are squared, of each."""
        assert batch.links is not None and batch.anchors is not None
        hidden = self.predictor.encoder(batch.input_ids, batch)[0].flatten(0, 1).float()
        with torch.no_grad():
            before = self._initial(batch.input_ids, batch)[0].flatten(0, 1).float()
        offsets, linked = batch.links[:2]
        positions = torch.arange(len(hidden), device=linked.device)
        owners = positions.repeat_interleave(offsets.diff(), output_size=linked.numel())
        # Every link is there both ways.
        distance = (hidden[owners] - hidden[linked]).square().sum() / 2
        moved = (hidden[batch.anchors] - before[batch.anchors]).square().sum()
        links, anchors = (
            hidden.new_full((), n) for n in (linked.numel() / 2, batch.anchors.numel())
        )
        return Sums(
            loss=distance + self.regularization * moved,
            count=links,
            overflow=torch.zeros_like(links),
            ratios={
                "link_distance": Ratio(distance, links),
                "anchor_distance": Ratio(moved, anchors),
            },
            counts={"links": links},
        )

    def heldout_loss(self, means: dict[str, float]) -> float:
        return means["loss"]
