"""Small files in the layouts in which the data sets are published."""

import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import real_data
from small_tokenizers import tokenizer
from torch import Tensor

from weam_ext.common.errors import InputError
from weam_ext.model.loading import new_model
from weam_ext.text.toy_corpus import sentence_pairs
from weam_ext.transfer import Row, cli, read_all
from weam_ext.transfer.encoder import Encoder
from weam_ext.transfer.families.formats import Part, find

LAYERS = 2
SMALL = {"hidden_size": 16, "num_hidden_layers": LAYERS, "num_attention_heads": 2,
         "intermediate_size": 32, "max_position_embeddings": 128}  # fmt: skip


def write(path: Path, text: str) -> Path:
    """A file of any depth, compressed where its name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def archive(path: Path, files: dict[str, str]) -> Path:
    """A tar.xz of files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:xz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return path


def squad(questions: list[tuple[str, str, str, str]]) -> str:
    """A file as SQuAD's of (id, context, question, answer)."""
    paragraphs: list[dict[str, Any]] = []
    for name, context, question, answer in questions:
        answers = [{"text": answer, "answer_start": context.index(answer)}]
        paragraphs.append(
            {"context": context, "qas": [{"id": name, "question": question, "answers": answers}]}
        )
    return json.dumps({"version": "1.1", "data": [{"title": "t", "paragraphs": paragraphs}]})


NLI_LABELS = ("entailment", "neutral", "contradiction")


def nli(rows: int, language: str) -> str:
    """XTREME's layout; what entails shares a word, so that something can be learnt."""
    words = {"entailment": "same", "neutral": "other", "contradiction": "not"}
    lines = []
    for row in range(rows):
        label = NLI_LABELS[row % 3]
        lines.append(f"{language} text {row}\t{language} {words[label]} {row}\t{label}\n")
    return "".join(lines)


def tagged(sentences: int, language: str) -> str:
    lines = []
    for k in range(sentences):
        lines += [f"the\tDET\n{language}\tNOUN\nruns{k}\tVERB\n.\tPUNCT\n\n"]
    return "".join(lines)


def small_data(directory: Path) -> Path:
    """Every fine-tuned family in little."""
    for language in ("en", "de"):
        write(directory / f"xnli/dev-{language}.tsv", nli(24, language))
        write(directory / f"xnli/test-{language}.tsv", nli(12, language))
        write(directory / f"udpos/dev-{language}.tsv", tagged(8, language))
        text = "Ada was born in London in 1815."
        questions = [(f"q{k}", f"{k} {text}", "Where was Ada born?", "London") for k in range(12)]
        write(directory / f"xquad/xquad.{language}.json", squad(questions))
        lines = [
            f'{{"premise": "p{k}", "choice1": "a", "choice2": "b", "question": "cause", '
            f'"label": {k % 2}, "idx": {k}}}\n'
            for k in range(8)
        ]
        for split in ("val", "test"):
            write(directory / f"xcopa/{language}/{split}.{language}.jsonl", "".join(lines))
        scores = [f'"the sun {k}, big","a sun {k}",{k % 6}.0\n' for k in range(12)]
        for split in ("train", "dev", "test"):
            write(directory / f"stsb/stsb-{language}-{split}.csv", "".join(scores))
        write(directory / f"tatoeba/{language}-en.{language}", "one\ntwo\nthree\n")
        write(directory / f"tatoeba/{language}-en.en", "eins\nzwei\ndrei\n")
    write(directory / "xnli/train-en.tsv", nli(24, "en"))
    write(
        directory / "xnli/multinli.train.de.tsv",
        "premise\thypo\tlabel\n" + nli(24, "de").replace("contradiction", "contradictory"),
    )
    write(directory / "udpos/train-en.tsv", tagged(16, "en"))
    questions = [("s", "Ada lived in Paris.", "Where did Ada live?", "Paris")] * 4
    write(directory / "squad/train-v1.1.json", squad(questions))
    write(directory / "wa-toy/gold.en", "the house\nbig red car\n")
    write(directory / "wa-toy/gold.de", "das Haus\ngrosses rotes Auto\n")
    write(directory / "wa-toy/gold.en-de.gold", "0-0 1-1\n0-0 1?1 2-2\n")
    return directory


def save_encoder(directory: Path, family: str = "WordPiece", seed: int = 0) -> Path:
    """A random BERT with its masked-language-model head, as a training run leaves it."""
    new_model(SMALL, tokenizer(family), 128, seed).save_pretrained(directory)
    tokenizer(family).save_pretrained(directory)
    return directory


def flags(inputs: Path, output: Path, *bitexts: str, models: tuple[str, ...] = ()) -> list[str]:
    models = models or (f"first={inputs / 'a'},{inputs / 'b'}", f"second={inputs / 'c'}")
    texts = [part for name in bitexts for part in ("--bitext", str(inputs / f"{name}.txt"))]
    return ["--models", *models, *texts, "--output", str(output), "--device", "cpu"]


def one_by_one(encoder: Encoder, sentence: str) -> Tensor:
    """[layers + 1, H]: the mean between the first and the last special token, written anew."""
    ids = encoder.tokenizer(sentence, add_special_tokens=False)["input_ids"]
    frame = encoder.tokenizer("")["input_ids"]
    assert len(frame) == 2
    ids = [frame[0], *ids[: encoder.max_length - 2], frame[1]]
    hidden = encoder.model(torch.tensor([ids]), output_hidden_states=True).hidden_states
    return torch.stack([layer[0, 1:-1].mean(0) for layer in hidden]).detach()


def read_parts(data: Path, formats: Any) -> dict[Part, list[Any]]:
    return {
        part: [x for _, load in loaders for x in load()]
        for part, loaders in find(data, formats).items()
    }


def counts(name: str, formats: Any) -> dict[str, int]:
    found = read_parts(real_data(name).parent, formats)
    return {f"{part.split}-{part.language}": len(examples) for part, examples in found.items()}


def fault(data: Path, formats: Any) -> str:
    with pytest.raises(InputError) as error:
        read_parts(data, formats)
    return str(error.value)


def run(encoder: Path, data: Path, output: Path, *more: str) -> list[Row]:
    arguments = flags(encoder, output, models=(f"m={encoder}",))
    cli.main([*arguments, "--data", str(data), "--seeds", "1", "--epochs", "1",
                   "--max-length", "64", *more])  # fmt: skip
    return read_all(output)


def write_encoders(directory: Path) -> Path:
    """Three encoders and three bitexts."""
    for seed, name in enumerate(("a", "b", "c")):
        save_encoder(directory / name, seed=seed)
    for seed, language in enumerate(("toku", "venn", "orlu")):
        pairs = sentence_pairs(language, 30, seed=seed)
        lines = "".join(f"{pair.source} ||| {pair.target}\n" for pair in pairs)
        (directory / f"{language}.txt").write_text(lines)
    return directory
