"""awesome-align's own program on any BERT with a tokenizer of transformers.

    python benchmarks/peer_awesome_align.py --model_name_or_path DIR [its other options]

Run by the Python that awesome-align is installed for. All is awesome-align's but the tokenizer, as
its own splits into BERT's word pieces alone. DIR has a pytorch_model.bin.
"""

from collections.abc import Sequence
from typing import Any, Self

import torch
from awesome_align import run_align
from transformers import AutoTokenizer


class Tokenizer:
    """What `run_align` asks of a tokenizer."""

    def __init__(self, directory: str) -> None:
        self._tokenizer: Any = AutoTokenizer.from_pretrained(directory)
        self.max_len = 512
        self.pad_token_id = self._tokenizer.pad_token_id
        self.cls_token_id = self._tokenizer.cls_token_id
        self.sep_token_id = self._tokenizer.sep_token_id

    @classmethod
    def from_pretrained(cls, directory: str, cache_dir: str | None = None) -> Self:
        return cls(directory)

    def tokenize(self, word: str) -> list[str]:
        found: list[str] = self._tokenizer.tokenize(word)
        return found

    def convert_tokens_to_ids(self, tokens: Sequence[str]) -> list[int]:
        found: list[int] = self._tokenizer.convert_tokens_to_ids(tokens)
        return found

    def prepare_for_model(
        self, ids: Sequence[int], return_tensors: str, max_length: int
    ) -> dict[str, torch.Tensor]:
        kept = ids[: max_length - 2]
        return {"input_ids": torch.tensor([[self.cls_token_id, *kept, self.sep_token_id]])}


if __name__ == "__main__":
    run_align.BertTokenizer = Tokenizer
    run_align.main()
