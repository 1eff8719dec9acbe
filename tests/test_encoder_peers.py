"""The encoder beside its peers: what is measured, which programs are missing, and the table."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import encoder_peers as peers
import pytest
from small_models import tiny
from small_tokenizers import tokenizer

from weam_ext.common.errors import InputError

PAIRS = [("a b", "c d"), ("b", "d")]
GOLD = [({(0, 0)}, {(0, 0)}), ({(0, 0)}, {(0, 0)})]

# A Python that has the program: it tells a version, and the program links the first words.
PYTHON = """#!{python} -IS
import sys
if sys.argv[1] == "-c":
    print("1.2")
else:
    text = next(each for each in sys.argv if each.endswith("text"))
    for name in ("links", "inter", "itermax"):
        open(name, "w").write("0-0\\n" * len(open(text).readlines()))
"""


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    made, folder = tokenizer("WordPiece"), tmp_path / "encoder"
    tiny("BertForMaskedLM", vocab_size=len(made), num_hidden_layers=2).save_pretrained(folder)
    made.save_pretrained(folder)
    return folder


def test_ours_and_the_peers_that_are_there(
    encoder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(peers.SETS, "zh-en", lambda data: ([], PAIRS, GOLD))
    python, output = tmp_path / "python", tmp_path / "peers.json"
    python.write_text(PYTHON.format(python=sys.executable))
    python.chmod(0o755)
    # Ours as they are would load torch four times.
    stand_in = peers.simalign(str(python), "")
    monkeypatch.setattr(peers, "ours", lambda model, _: replace(stand_in, name=model))
    given = ["--data", str(tmp_path), "--encoder", str(encoder), "--output", str(output)]
    given += ["--set", "zh-en", "--repeat", "1", "--awesome-align", str(python)]
    peers.main(given)
    results = json.loads(output.read_text())
    assert results["conditions"]["programs"] == {"awesome-align": "1.2"}
    measured = results["sets"]["zh-en"]["systems"]
    chosen = "awesome-align, layer 7, threshold 0.7"
    assert [*measured] == ["encoder", "hybrid", "awesome-align", chosen]
    assert measured["awesome-align"][0]["aer"] == {"links": 0}
    assert "simalign is left out" in capsys.readouterr().err
    before = output.read_text()
    peers.main(given)  # all is there
    assert output.read_text() == before


def test_the_table(tmp_path: Path) -> None:
    def run(cpu: float, aer: dict[str, float]) -> dict[str, Any]:
        return {"aer": aer, "wall_s": cpu, "cpu_s": cpu, "start_cpu_s": 1.0, "peak_mb": 1000}

    systems = {
        "encoder": [run(cpu, {"links": 0.1}) for cpu in (2.0, 3.0, 9.0)],
        "SimAlign": [run(11.0, {"inter": 0.3, "itermax": 0.2})],
    }
    path, document = tmp_path / "peers.json", tmp_path / "document.md"
    path.write_text(json.dumps({"sets": {"some": {"pairs": 101, "systems": systems}}}))
    document.write_text(f"{peers.BEGIN}\nold\n{peers.END}\n")
    peers.main(["--output", str(path), "--table", str(document)])
    assert document.read_text().splitlines()[3:-1] == [
        "| some | encoder | 0.1000 | 50.0 | 1.00 | 1,000 |",
        "| some | SimAlign | 0.2000 | 10.0 | 5.00 | 1,000 |",
    ]


def test_a_python_without_the_program() -> None:
    with pytest.raises(InputError, match="it has no simalign"):
        peers.version_there("simalign", sys.executable)
