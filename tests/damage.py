"""Files with one byte changed, as a bad disk or a slip of an editor leaves them."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path


def one_byte_changes(files: Sequence[Path], count: int, seed: int = 0) -> Iterator[str]:
    """Change one random byte of a random file, `count` times; yield what was changed.

    Every file comes as often as another, whatever its size; every second change is of one bit. A
    file is as it was before when the next change is made, and when the iterator ends or is closed,
    also where what was done meanwhile removed it or moved it away with its directory.
    """
    rng = random.Random(seed)
    assert files and all(path.stat().st_size for path in files)
    for number in range(count):
        path = rng.choice(files)
        data = path.read_bytes()
        at = rng.randrange(len(data))
        mask = 1 << rng.randrange(8) if number % 2 else rng.randrange(1, 256)
        changed = bytes([data[at] ^ mask])
        path.write_bytes(data[:at] + changed + data[at + 1 :])
        try:
            yield f"{path}, byte {at}: {data[at : at + 1]!r} became {changed!r}"
        finally:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def files_of(directory: Path) -> list[Path]:
    """All the files in a directory and in those below it that have a byte, in a fixed order."""
    found = sorted(path for path in directory.rglob("*") if path.is_file())
    return [path for path in found if path.stat().st_size]
