"""How alike an encoder finds the words of a sentence and of its translation.

Both sentences are encoded alone. The similarity of two tokens is the cosine of their vectors in an
inner layer (the mean over two layers by default); its softmax over the tokens of the other sentence
is taken both ways, and the geometric mean of the two is the score (after SimAlign, Jalili Sabet et
al. 2020, arXiv 2004.08728, and awesome-align, Dou and Neubig 2021, arXiv 2101.08231). Two words
have the largest score of their tokens.
"""

import hashlib
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from itertools import pairwise
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from weam_ext.common.errors import InputError
from weam_ext.model.families import family_of, layers_of
from weam_ext.model.loading import load_encoder
from weam_ext.text.bitext import blocks
from weam_ext.text.tokenizer import fingerprint, framer
from weam_ext.text.words import Ints, tokens_and_words

Words = Sequence[str]
_BLOCK = 512  # sentence pairs whose vectors are held at a time
_LONGEST = 512  # tokens of a window, even where the model takes more
_LEAST = 8
_STEP = 16  # lengths of batches
# Tokens of a batch. Beyond 512 a processor's core gains nothing.
_CPU_TOKENS, _GPU_TOKENS = 512, 32_768


class Vectors(NamedTuple):
    """A sentence.

    tokens: float32 [tokens, H], of unit length.
    owners: int64 [tokens], the number of the word that each belongs to.
    numbers: int64 [words], of each word, or -1 where no token shows it. Words that share a token
        have one number.
    """

    tokens: Tensor
    owners: Ints
    numbers: Ints


class _Window(NamedTuple):
    """Tokens of a sentence that are encoded together, and those of them whose vectors count."""

    sentence: int
    ids: list[int]
    start: int
    kept: slice


def word_scores(source: Vectors, target: Vectors, scale: float) -> NDArray[np.float32]:
    """float32 [source words, target words], from 0 to 1; NaN for words that no token shows.

    Equivalent to `weam_ref.word_scores`.
    """
    rows, columns = (int(side.numbers.max(initial=-1)) + 1 for side in (source, target))
    padded = np.full((rows + 1, columns + 1), np.nan, np.float32)  # -1 is the last
    if rows and columns:
        logits = scale * (source.tokens @ target.tokens.T)
        agreed = (logits.softmax(1) * logits.softmax(0)).sqrt().flatten()
        cells = torch.from_numpy(source.owners[:, None] * columns + target.owners).flatten()
        best = agreed.new_zeros(rows * columns)
        best.scatter_reduce_(0, cells.to(agreed.device), agreed, "amax")
        padded[:-1, :-1] = best.view(rows, columns).cpu().numpy()
    return padded[source.numbers[:, None], target.numbers[None]]


class WordScorer:
    """An encoder, to score the words of sentence pairs with.

    On a processor the scores of a pair are the same bytes whatever it comes with and however many
    threads there are: a batch has one of a few shapes, which the lengths of its sentences decide,
    and one thread works on it. On a GPU they may differ in the last digits.

    Args:
        spec: a hub name or a directory; weights are read from safetensors alone.
        layer: counted from 1; None for the two in the middle, whose cosines are averaged.
        device: as torch names it; None for a GPU where there is one.

    Raises `InputError` for what is no encoder of a supported family, has no tokenizer that fits it,
    has no such layer or takes too few tokens.
    """

    def __init__(self, spec: str, layer: int | None, device: str | None) -> None:
        self.spec = spec
        self.device = _device(device)
        self._model, self._tokenizer = load_encoder(spec)
        self._most = _positions(spec, self._model, self._tokenizer)
        self._framed = framer(self._tokenizer)
        self._norm = family_of(self._model).final_norm
        self._states = threading.local()
        layers = layers_of(self._model)
        self.layers = _chosen(spec, layer, len(layers))
        del layers[self.layers[-1] :]
        for number in self.layers:
            layers[number - 1].register_forward_hook(self._keep)
        self._model.to(self.device)
        self._digest = ""

    @property
    def digest(self) -> str:
        """SHA-256 of the tokenizer and of the weights that the scores depend on."""
        if not self._digest:
            total = hashlib.sha256(fingerprint(self._tokenizer).encode())
            for name, weights in sorted(self._model.state_dict().items()):
                if "pooler." not in name:  # it may be random
                    total.update(name.encode())
                    total.update(weights.cpu().contiguous().numpy().tobytes())
            self._digest = total.hexdigest()
        return self._digest

    def scores(
        self, pairs: Sequence[tuple[Words, Words]], scale: float, threads: int
    ) -> Iterator[NDArray[np.float32]]:
        """Those of each pair, as `word_scores` gives them. `scale` multiplies cosines."""
        workers = threads if self.device.type == "cpu" else 1
        with _one_thread_each(), ThreadPoolExecutor(workers) as pool:
            for block in blocks(pairs, _BLOCK):
                vectors = self._vectors([side for pair in block for side in pair], pool)
                yield from pool.map(
                    lambda a, b: word_scores(a, b, scale), vectors[::2], vectors[1::2]
                )

    def _vectors(self, sentences: Sequence[Words], pool: ThreadPoolExecutor) -> list[Vectors]:
        ids, owners, numbers = zip(*tokens_and_words(self._tokenizer, sentences, True), strict=True)
        windows = [each for k, row in enumerate(ids) for each in self._windows(k, row)]
        parts: list[list[tuple[int, Tensor]]] = [[] for _ in sentences]
        for done in pool.map(self._encode, self._batches(windows)):
            for window, vectors in done:
                parts[window.sentence].append((window.start, vectors))
        return [
            _of_words([part for _, part in sorted(own, key=itemgetter(0))], *words)
            for own, *words in zip(parts, owners, numbers, strict=True)
        ]

    def _windows(self, sentence: int, ids: list[int]) -> Iterator[_Window]:
        """All tokens, those of long sentences in windows that overlap by half.

        A token's vector is that of the window whose edges are further away.
        """
        if not ids:
            return
        last = max(0, len(ids) - self._most)
        starts = [*range(0, last, self._most // 2), last]
        cuts = [(a + self._most + b) // 2 for a, b in pairwise(starts)]
        for start, begin, end in zip(starts, [0, *cuts], [*cuts, len(ids)], strict=True):
            kept = slice(begin - start, end - start)
            yield _Window(sentence, ids[start : start + self._most], start, kept)

    def _batches(self, windows: Sequence[_Window]) -> Iterator[tuple[int, int, list[_Window]]]:
        """Sequences and tokens of each batch, and what is in it: some may have fewer."""
        special = self._tokenizer.num_special_tokens_to_add()
        by_length: dict[int, list[_Window]] = defaultdict(list)
        for window in windows:
            length = -(-(len(window.ids) + special) // _STEP) * _STEP
            by_length[min(length, self._most + special)].append(window)
        tokens = _CPU_TOKENS if self.device.type == "cpu" else _GPU_TOKENS
        for length in sorted(by_length, reverse=True):
            rows = max(1, tokens // length)
            for members in blocks(by_length[length], rows):
                yield rows, length, members

    @torch.inference_mode()
    def _encode(self, batch: tuple[int, int, list[_Window]]) -> list[tuple[_Window, Tensor]]:
        rows, length, windows = batch
        idle = [_Window(-1, [], 0, slice(0))] * (rows - len(windows))
        framed, places = zip(*(self._framed(each.ids) for each in [*windows, *idle]), strict=True)
        columns = {name: [row[name] for row in framed] for name in framed[0]}
        inputs = self._tokenizer.pad(
            columns, padding="max_length", max_length=length, return_tensors="pt", verbose=False
        )
        self._states.hidden = []
        self._model(**inputs.to(self.device))
        # The mean of the layers' cosines is the product of their unit vectors, side by side.
        layers = [self._unit(hidden) for hidden in self._states.hidden]
        vectors = torch.cat(layers, 2) / len(layers) ** 0.5
        if not vectors.isfinite().all():
            raise InputError(f"{self.spec}: some of its vectors are not finite")
        found = zip(windows, vectors, places, strict=False)
        return [(window, row[place][window.kept]) for window, row, place in found]

    def _unit(self, hidden: Tensor) -> Tensor:
        if self._norm:
            hidden = self._model.get_submodule(self._norm)(hidden)
        return nn.functional.normalize(hidden.float(), dim=2, eps=1e-30)

    def _keep(self, module: nn.Module, inputs: Any, output: Any) -> None:
        """Called by a layer that is chosen, on the thread that runs it."""
        self._states.hidden.append(output[0] if isinstance(output, tuple) else output)


@lru_cache(maxsize=2)
def word_scorer(spec: str, layer: int | None, device: str | None) -> WordScorer:
    """The same encoder when it is asked for again."""
    return WordScorer(spec, layer, device)


def _of_words(parts: list[Tensor], owners: Ints, numbers: Ints) -> Vectors:
    """Without the tokens of no word, such as a blank's."""
    tokens = torch.cat(parts) if parts else torch.zeros(0, 1)
    shown = owners >= 0
    return Vectors(tokens[torch.from_numpy(shown).to(tokens.device)], owners[shown], numbers)


def _device(name: str | None) -> torch.device:
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name!r}: there is no such device here") from error
    return device


def _positions(spec: str, model: Any, tokenizer: Any) -> int:
    """The tokens of a window, without the special ones."""
    config, family = model.config, family_of(model)
    positions = getattr(config, "max_position_embeddings", _LONGEST)
    taken = positions - family.first_position(config)
    most = min(taken, _LONGEST) - int(tokenizer.num_special_tokens_to_add())
    if most < _LEAST:
        raise InputError(f"{spec}: the model takes only {taken} tokens, too few for sentences")
    return most


def _chosen(spec: str, layer: int | None, layers: int) -> tuple[int, ...]:
    if layer is None:
        middle = max(1, layers // 2)
        return tuple(sorted({middle, min(middle + 1, layers)}))
    if layer > layers:
        raise InputError(f"{spec}: the encoder has {layers} layers, no layer {layer}")
    return (layer,)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Each operation runs on the thread that calls it: how work is divided changes last digits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
