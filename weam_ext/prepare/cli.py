"""Text into memory-mapped shards: token ids, word ids and word links.

    python -m weam_ext.prepare --bitext train.en.xz train.fr.xz --tokenizer vocab.txt --output DIR
    torchrun --nproc-per-node 8 -m weam_ext.prepare ...

A prepared directory holds `prepared.json` (what was done, and what was counted) and Arrow files, at
most two for each chunk of the input. Columns: `source_ids`, `target_ids` (token
ids without special tokens), `source_words`, `target_words` (the word of each token, or -1),
`link_source`, `link_target` (linked words) and, where asked for, `link_probability`. Of text in one
language all columns but the first two hold nothing.
"""

from collections.abc import Sequence

from weam_ext.common.errors import Parser
from weam_ext.common.ranks import Ranks
from weam_ext.common.settings import add_flags, given, narrowed
from weam_ext.prepare.pipeline import default_workers, prepare
from weam_ext.prepare.settings import PrepareCommand, PrepareSettings
from weam_ext.text.tokenizer import load_tokenizer


def parser() -> Parser:
    made = Parser("weam_ext.prepare", __doc__.split("\n")[0])
    add_flags(made, PrepareCommand)
    return made


def parse(arguments: Sequence[str] | None) -> PrepareCommand:
    return PrepareCommand(**given(parser(), PrepareCommand, arguments))


def main(arguments: Sequence[str] | None = None) -> None:
    with Ranks.of_environment() as ranks:
        with ranks.together():
            command = parse(arguments)
            sources = command.sources()
            assert command.tokenizer is not None  # the settings see to it
            tokenizer = load_tokenizer(command.tokenizer)
        prepare(
            sources,
            tokenizer,
            command.output,
            narrowed(command, PrepareSettings),
            workers=command.workers or default_workers(ranks),
            max_memory=command.max_memory,
            ranks=ranks,
        )
        if ranks.first:
            print(command.output)
