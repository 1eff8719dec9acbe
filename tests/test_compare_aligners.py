"""The comparison with the peers: what is measured, what is not measured again, and the table."""

import importlib
import json
import lzma
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from weam_ext.common.errors import InputError
from weam_ext.text.toy_corpus import sentence_pairs

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
PAIRS, GOLD = 12, 5

# A diagonal, and in the other direction its first link only; what was run goes to a log.
PEER = """#!{python} -IS
import sys
from pathlib import Path
here = Path(__file__)
with here.with_name("log").open("a") as log:
    log.write(here.name + "\\n")
if here.with_name("broken").exists():
    sys.exit("out of luck")
def links(text, first_only):
    for line in open(text, encoding="utf-8"):
        words = [len(side.split()) for side in line.split("|||")]
        print(" ".join(f"{{i}}-{{i}}" for i in range(min(1 if first_only else 99, *words))))
arguments = sys.argv[1:]
"""
FAST_ALIGN = PEER + 'links(arguments[arguments.index("-i") + 1], "-r" in arguments)\n'
ATOOLS = PEER + 'print(open("backward").read(), end="")\n'
EFLOMAL = (
    PEER
    + """
text = arguments[arguments.index("-i") + 1]
for flag in ("-f", "-r"):
    sys.stdout = open(arguments[arguments.index(flag) + 1], "w")
    links(text, False)
"""
)


@pytest.fixture(scope="module")
def modules() -> Any:
    """The modules of the benchmark, which are programs and in no package."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield {
            name: importlib.import_module(name)
            for name in ("compare_aligners", "aligner_results", "aligner_report")
        }
    finally:
        sys.path.remove(str(BENCHMARKS))


def make_data(folder: Path) -> None:
    """A folder like that of the WPT-03 data."""
    folder.mkdir(parents=True)
    made = sentence_pairs("toku", PAIRS + GOLD)
    for side, lines in {
        "en": [pair.source.upper() for pair in made],
        "fr": [pair.target for pair in made],
    }.items():
        train = "".join(f"{line}\n" for line in lines[:PAIRS])
        (folder / f"train.{side}.xz").write_bytes(lzma.compress(train.encode()))
        (folder / f"test.{side}").write_text("".join(f"{line}\n" for line in lines[PAIRS:]))
    (folder / "test.en-fr.gold").write_text("0-0 1?1\n" * GOLD)


def make_peers(folder: Path) -> None:
    folder.mkdir()
    for name, text in {"fast_align": FAST_ALIGN, "atools": ATOOLS, "eflomal": EFLOMAL}.items():
        (folder / name).write_text(text.format(python=sys.executable))
        (folder / name).chmod(0o755)


Compare = Callable[..., tuple[dict[str, Any], list[str]]]


def comparing(modules: Any, folder: Path) -> Compare:
    """Runs the comparison in a folder; returns what the JSON holds and which peers were run."""
    data, peers, output = folder / "data", folder / "peers", folder / "out" / "aligners.json"
    make_data(data)
    make_peers(peers)
    base = ["--data", data, "--pairs", "10", "--threads", "1", "--repeat", "1", "--output", output]
    base += ["--fast-align", peers / "fast_align", "--eflomal", peers / "eflomal"]

    def compare(*arguments: str) -> tuple[dict[str, Any], list[str]]:
        (peers / "log").write_text("")
        modules["compare_aligners"].main([*map(str, base), *arguments])
        return json.loads(output.read_text()), (peers / "log").read_text().split()

    return compare


@pytest.fixture
def compare(modules: Any, tmp_path: Path) -> Compare:
    return comparing(modules, tmp_path)


@pytest.fixture
def peers(compare: Compare, tmp_path: Path) -> Path:
    return tmp_path / "peers"


@pytest.fixture(scope="module")
def measured_once(modules: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    results, _ = comparing(modules, tmp_path_factory.mktemp("once") / "x")()
    return json.dumps(results)


@pytest.fixture
def first(compare: Compare, measured_once: str, tmp_path: Path) -> dict[str, Any]:
    """What an earlier run has left where `compare` goes on."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "aligners.json").write_text(measured_once)
    results: dict[str, Any] = json.loads(measured_once)
    return results


def keys(results: dict[str, Any]) -> list[tuple[str, int]]:
    return [(run["key"]["system"], run["key"]["repeat"]) for run in results["runs"]]


ONE_ROUND = ["fast_align", "fast_align", "atools", "eflomal", "atools"]


@pytest.mark.long
def test_every_system_is_measured_once_and_in_turns(
    compare: Any, modules: Any, tmp_path: Path
) -> None:
    results, ran = compare("--repeat", "2")
    ours = [system.name for system in modules["compare_aligners"].our_systems()]
    systems = [*ours, "fast_align", "eflomal", "weam_ref"]
    assert keys(results) == [(system, repeat) for repeat in range(2) for system in systems]
    assert len(set(systems)) == len(systems)
    assert ran == ONE_ROUND * 2 + ["atools"] * 5
    by_name = {run["key"]["system"]: run for run in results["runs"]}
    assert list(by_name["fast_align"]["steps"]) == ["forward", "backward", "grow-diag-final-and"]
    assert all(step["wall_s"] > 0 for step in by_name["fast_align"]["steps"].values())
    # Its backward links and their intersection are the sure ones; half of forward's are possible.
    rates = by_name["fast_align"]["aer"]
    assert rates["backward"] == rates["intersect"] == rates["grow-diag-final-and"] == 0
    assert rates["forward"] > 0
    assert results["fidelity"]["10"]["backward"]["aer_of_fast_align"] == 0
    assert 0 < results["fidelity"]["10"]["forward"]["f1"] <= 1
    assert not (tmp_path / "out" / "aligners.work").exists()
    assert str(tmp_path) not in json.dumps(results)


def test_native_and_plain_python_meet(first: Any) -> None:
    rates = {run["key"]["system"]: run["aer"].get("grow-diag-final-and") for run in first["runs"]}
    assert rates["weam_ext"] == rates["weam_ref"]


def test_a_second_run_measures_nothing_again(compare: Any, first: Any) -> None:
    second, ran = compare()
    assert second == first
    assert ran == []


def test_a_stopped_run_goes_on(compare: Any, peers: Path, tmp_path: Path) -> None:
    (peers / "broken").touch()
    with pytest.raises(InputError, match=r"fast_align -i .*exit status 1 \(out of luck\)"):
        compare()
    output = tmp_path / "out" / "aligners.json"
    first = json.loads(output.read_text())["runs"]
    assert first  # ours, before it
    (peers / "broken").unlink()
    results, ran = compare()
    assert results["runs"][: len(first)] == first
    assert len(results["runs"]) == len(first) + 3
    assert ran == ONE_ROUND + ["atools"] * 5


@pytest.mark.long
def test_more_rounds_and_sizes_join(compare: Any, first: Any) -> None:
    results, ran = compare("--repeat", "2")
    assert results["runs"][: len(first["runs"])] == first["runs"]
    assert ran == ONE_ROUND
    results, _ = compare("--pairs", "11")
    assert {run["key"]["pairs"] for run in results["runs"]} == {10, 11}
    assert results["fidelity"].keys() == {"10", "11"}


def test_links_of_an_earlier_run_are_made_again(compare: Any, first: Any, tmp_path: Path) -> None:
    output = tmp_path / "out" / "aligners.json"
    output.write_text(json.dumps(first | {"fidelity": {}}))
    results, ran = compare()
    assert results == first
    assert ran == ["fast_align", "fast_align", "atools"] + ["atools"] * 5


def test_other_code_is_not_mixed_with_this(
    compare: Any, first: Any, modules: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modules["compare_aligners"], "code_version", lambda: "another")
    with pytest.raises(InputError, match="another commit of weam_ext: give another --output"):
        compare()
    results, ran = compare("--restart")
    assert results["conditions"]["commit of weam_ext"] == "another"
    assert keys(results) == keys(first)
    assert ran == ONE_ROUND + ["atools"] * 5


def test_another_program_is_not_mixed_with_this(compare: Any, first: Any, peers: Path) -> None:
    (peers / "eflomal").write_text((peers / "eflomal").read_text() + "\n")
    with pytest.raises(InputError, match="another eflomal"):
        compare()


def test_links_that_cannot_be_compared(compare: Any, peers: Path) -> None:
    (peers / "atools").write_text((peers / "atools").read_text() + 'print("0-0")\n')
    with pytest.raises(InputError, match="16 lines of links, not 15"):
        compare()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pairs", "13"], "13 training pairs and 5 test pairs were expected, but there are 17"),
        (["--threads", "0"], "--threads: numbers count from 1"),
        (["--eflomal", "/nowhere/eflomal"], "--eflomal: there is no program /nowhere/eflomal"),
        (["--fast-align", sys.executable], "--atools: there is no program"),
    ],
)
def test_what_cannot_be_meant(compare: Any, arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        compare(*arguments)


def test_memory_is_that_of_the_program_alone(modules: Any, tmp_path: Path) -> None:
    compare_aligners = modules["compare_aligners"]
    peak = {}
    for megabytes in (0, 200):
        code = f"bytearray(b'x') * ({megabytes} << 20)"
        step = compare_aligners.Step("out", (sys.executable, "-ISc", code))
        peak[megabytes] = compare_aligners.run_step(step, tmp_path, 1).peak_bytes / 2**20
    # This process holds torch, and would lend its size to a program that it starts itself.
    assert peak[0] < 60
    assert 190 < peak[200] - peak[0] < 210


def test_an_interrupt_ends_what_was_started(
    modules: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import time\nfor _ in range(1000): print('on', flush=True); time.sleep(0.01)"
    step = modules["compare_aligners"].Step("out", (sys.executable, "-ISc", code))
    out = tmp_path / "out"

    def interrupted(_: Any) -> int:
        while not out.read_text():
            time.sleep(0.01)
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        modules["compare_aligners"].run_step(step, tmp_path, 1)
    time.sleep(0.1)  # a signal may take its time
    said = out.read_text()
    time.sleep(0.5)
    assert out.read_text() == said


def test_f1_of_links(modules: Any, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.write_text("0-0 1-1\n\n2-2\n")
    theirs.write_text("1-1 0-0\n\n2-1\n")
    f1 = modules["compare_aligners"].link_f1
    assert f1(ours, theirs) == pytest.approx(2 / 3)
    theirs.write_text("0-0\n")
    with pytest.raises(InputError, match="differ in their number of lines"):
        f1(ours, theirs)


# ------------------------------------------------------------------------------------------ table


@pytest.fixture
def results(modules: Any, tmp_path: Path) -> Any:
    """Two rounds of three systems at one size, one system at another, in round numbers."""
    made = modules["aligner_results"]

    def run(system: str, threads: int, pairs: int, repeat: int, wall: float, **aer: float) -> Any:
        names = {"fast_align": ["forward", "backward", "gdfa"]}.get(system, ["gdfa"])
        if "direction" in system:
            names = ["forward", "backward"]
        steps = {name: made.Figures(wall, 2 * wall, wall, 3 << 20) for name in names}
        rates = {name.replace("gdfa", "grow-diag-final-and"): x for name, x in aer.items()}
        return made.Run(made.Key(system, threads, pairs, repeat), steps, rates, 0.5, "2026-01-02 3")

    apart = {"forward": 0.2, "backward": 0.3, "intersect": 0.1, "gdfa": 0.15}
    runs = [
        run(system, threads, pairs, repeat, wall * (1 + repeat), **aer)
        for repeat in (0, 1, 4)
        for system, threads, pairs, wall, aer in (
            ("weam_ext", 1, 1000, 1.5, {"gdfa": 0.15}),
            ("weam_ext", 2, 1000, 1.0, {"gdfa": 0.15}),
            ("weam_ext, one direction at a time", 2, 1000, 0.5, apart),
            ("fast_align", 1, 1000, 4.0, apart),
            ("fast_align", 2, 1000, 5.0, apart),
            ("eflomal", 1, 1000, 24.0, {"gdfa": 0.01 * repeat}),
            ("weam_ext", 1, 500, 1.0, {"gdfa": 0.15}),
            ("weam_ref", 1, 500, 30.0, {"gdfa": 0.15}),
        )
    ]
    links = {"f1": 0.999, "aer": 0.2, "aer_of_fast_align": 0.21}
    conditions = {
        "commit of weam_ext": "abc",
        "build of weam_ext": {"compiler": "GCC 1"},
        "machine": {"processor": "CPU", "cores": 2, "memory_bytes": 2**34, "system": "OS"},
    }
    return made.Results(
        tmp_path / "aligners.json",
        conditions,
        {"fast_align": "0"},
        {run.key: run for run in runs},
        {
            1000: {
                "forward": links,
                "backward": {**links, "f1": 0.998},
                "intersect": {**links, "aer": 0.09},
            }
        },
    )


def test_the_table(modules: Any, results: Any) -> None:
    text = modules["aligner_report"].markdown(results)
    lines = [line for line in text.split("\n") if line.startswith("|")]
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert "CPU, 2 cores, 16 GiB, OS; GCC 1; commit abc; 2026-01-02; medians of 3 runs." in text
    assert "weam_ref, the plain-Python twin, was run at 500 pairs and fewer only" in text
    assert table[0][:6] == ["pairs", "system", "s, 1 thread", "s, 2 threads", "CPU s", "MiB"]
    # Medians of the three rounds are twice the first; three programs make fast_align's.
    assert [" | ".join(row) for row in table[2:9]] == [
        "500 | weam_ext | 2.00 (30×) | – | 6.00 | 3 | – | – | – | 0.1500 | – | – | –",
        "500 | weam_ref | 60.00 (1×) | – | 180.00 | 3 | – | – | – | 0.1500 | – | – | –",
        "1,000 | weam_ext | 3.00 (8×) | 2.00 (12×) | 6.00 | 3 "
        "| – | – | 0.1000 | 0.1500 | – | – | –",
        "1,000 | weam_ext, forward alone | – | 1.00 (8×) | 3.00 | 3 "
        "| 0.2000 | – | – | – | – | 0.99900 | –",
        "1,000 | weam_ext, backward alone | – | 1.00 (8×) | 3.00 | 3 "
        "| – | 0.3000 | – | – | – | – | 0.99800",
        "1,000 | fast_align | 24.00 (1×) | 30.00 (0.8×) | 72.00 | 3 "
        "| 0.2000 | 0.3000 | 0.1000 | 0.1500 | – | – | –",
        "1,000 | eflomal | 48.00 (0.5×) | – | 144.00 | 3 | – | – | – | 0.0167 | – | – | –",
    ]
    assert table[9:] == [
        ["links", "F1", "AER", "AER of the original's"],
        ["---"] * 4,
        ["forward", "0.99900", "0.2000", "0.2100"],
        ["backward", "0.99800", "0.2000", "0.2100"],
        ["intersect", "0.99900", "0.0900", "0.2100"],
    ]


def test_results_survive_the_file(modules: Any, results: Any) -> None:
    results.write()
    assert modules["aligner_results"].Results.read(results.path) == results


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"runs": [{}]}'])
def test_a_file_that_holds_no_results(modules: Any, tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError, match=r"x\.json: not a file of aligner results"):
        modules["compare_aligners"].main(["--table", "--output", str(tmp_path / "x.json")])


def test_the_table_goes_between_the_markers(modules: Any, results: Any, tmp_path: Path) -> None:
    report, readme = modules["aligner_report"], tmp_path / "README.md"
    readme.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    results.write()
    arguments = ["--output", str(results.path), "--table", str(readme)]
    modules["compare_aligners"].main(arguments)
    once = readme.read_text()
    assert once == f"before\n{report.BEGIN}\n{report.markdown(results)}\n{report.END}\nafter\n"
    modules["compare_aligners"].main(arguments)
    assert readme.read_text() == once
    if importlib.util.find_spec("matplotlib"):
        assert (tmp_path / "aligners.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("text", ["", "{0}", "{1}\n{0}", "{0}{0}{1}", "{0}{1}{1}"])
def test_markers_that_are_not_there(modules: Any, tmp_path: Path, text: str) -> None:
    report, readme = modules["aligner_report"], tmp_path / "README.md"
    readme.write_text(text.format(report.BEGIN, report.END))
    with pytest.raises(InputError, match=r"README\.md: expected one line"):
        report.insert_table(readme, "table")
    assert readme.read_text() == text.format(report.BEGIN, report.END)


def test_the_readme_has_the_markers(modules: Any) -> None:
    text = (BENCHMARKS.parent / "README.md").read_text()
    report = modules["aligner_report"]
    assert text.count(report.BEGIN) == text.count(report.END) == 1
