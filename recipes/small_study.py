"""The whole line on two processor cores in a quarter of an hour: is WEAM better than TLM?

    python recipes/small_study.py --data DATA --output study

A WordPiece vocabulary is made of real bitext, a small BERT is trained on it from scratch with
either objective for equally many steps, and both are compared on parts of speech, names, topics,
sentence retrieval and word alignment. `study/scores/report.html` has the outcome. Small models on
little text: it shows the protocol at work, not what base-size models would do. What is there
already is not done again.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from weam_ext.common.errors import InputError, Parser, run, say
from weam_ext.common.files import write_whole
from weam_ext.text.bitext import BitextSource, read_bitext

OBJECTIVES = ("weam", "tlm")
CONFIGURATION = {
    "model_type": "bert", "hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4,
    "intermediate_size": 512, "max_position_embeddings": 128,
}  # fmt: skip
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
# Italian and Turkish have no bitext here.
TESTED = ("en", "de", "es", "fr", "ru", "it", "tr")
# With the epochs of fine-tuning: topics are learnt slowly by so small an encoder.
TASKS = ((8, ("sib200",)), (3, ("udpos", "panx", "tatoeba", "alignment")))
GOLD = ("enfr-wpt03", "golden-es", "golden-pt")


def bitexts(data: Path, languages: Sequence[str]) -> list[BitextSource]:
    """Public test sets of machine translation as bitext: origin, English, other language."""
    folder = data / "bitext-opus-testsets"
    return [
        BitextSource(f"en-{code}", (str(folder / f"opus.en-{code}.tsv.xz"),), (2, 3))
        for code in languages
    ]


def make_vocabulary(sources: Sequence[BitextSource], size: int, pairs: int, path: Path) -> None:
    """A cased WordPiece vocabulary of the first pairs of each bitext, mBERT's kind."""

    def sides() -> Iterator[str]:
        for source in sources:
            for number, pair in enumerate(read_bitext(source)):
                if number == pairs:
                    break
                yield from pair

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=SPECIAL, show_progress=False
    )
    tokenizer.train_from_iterator(sides(), trainer)
    tokens = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    write_whole(path, "".join(f"{token}\n" for token, _ in tokens).encode())


def together(commands: Sequence[Sequence[str]]) -> None:
    """Run commands at once, each on its share of the cores; `InputError` where one fails."""
    threads = max(1, (os.cpu_count() or 1) // len(commands))
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
    running = [subprocess.Popen([sys.executable, *c], env=environment) for c in commands]
    failed = [c for c, process in zip(commands, running, strict=True) if process.wait()]
    if failed:
        raise InputError(f"{' '.join(failed[0][:2])} failed; what it said is above")


def main() -> None:
    parser = Parser("recipes/small_study.py", (__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the data sets")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--steps", type=int, default=200, help="of pre-training (%(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="of fine-tuning (%(default)s)")
    parser.add_argument("--pairs", type=int, default=8000, help="of each bitext (%(default)s)")
    parser.add_argument("--vocabulary", type=int, default=8000, metavar="N", help="(%(default)s)")
    parser.add_argument("--languages", nargs="+", default=["de", "es", "fr", "ru"], metavar="CODE",
                        help="with bitext (%(default)s)")  # fmt: skip
    options = parser.parse_args()
    output: Path = options.output
    output.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    sources = bitexts(options.data, options.languages)
    vocabulary, configuration = output / "vocab.txt", output / "config.json"
    if not vocabulary.exists():
        make_vocabulary(sources, options.vocabulary, options.pairs, vocabulary)
    write_whole(configuration, json.dumps(CONFIGURATION).encode())
    files = [f"--bitext={source.name}={source.paths[0]}" for source in sources]
    together([
        ["-m", "weam_ext.train", *files, "--columns", "2,3", "--limit", str(options.pairs),
         "--tokenizer", str(vocabulary), "--model-config", str(configuration),
         "--steps", str(options.steps), "--objective", objective, "--output",
         str(output / objective), "--no-tensorboard"]
        for objective in OBJECTIVES
    ])  # fmt: skip
    say(f"trained after {(time.monotonic() - start) / 60:.1f} minutes")
    checkpoints = {o: sorted((output / o).glob("step-*"))[-1] for o in OBJECTIVES}
    scores = output / "scores"
    for epochs, tasks in TASKS:
        command = [
            "-m", "weam_ext.transfer", "--data", str(options.data), "--output", str(scores),
            "--models", *(f"{o}={checkpoints[o]}" for o in reversed(OBJECTIVES)),
            "--tasks", *tasks, "--languages", *TESTED, "--gold", *GOLD,
            "--seeds", str(options.seeds), "--epochs", str(epochs), "--learning-rate", "5e-4",
            "--train-limit", "600", "--select-limit", "50", "--test-limit", "200",
            "--max-length", "96",
        ]  # fmt: skip
        together([command, command])  # they share the cells
    say(f"evaluated after {(time.monotonic() - start) / 60:.1f} minutes")
    together([["-m", "weam_ext.report", str(scores), "--bitext-languages", *options.languages]])
    print(scores / "report.html")


if __name__ == "__main__":
    run("recipes/small_study.py", main)
