"""Damaged and edited artifacts: found by checksum before anything is made from them, and remade to the same bytes."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess

import pyarrow.parquet as pq
import pytest

from lorebridge.records import file_digest

pytestmark = pytest.mark.slow

RUN = "models/continual/ko-bridge-s0"
DAMAGED = {
    f"{RUN}/step4/model.safetensors": "train_continual",
    f"{RUN}/metrics.parquet": "train_continual",
    "tokens/pairs-ko-xx/tokens.bin": "token_store",
    "order/ko-bridge-s0.parquet": "order",
}


def lorebridge(study, *arguments):
    return subprocess.run(
        ["lorebridge", *arguments], env=study.environment(), cwd=study.folder, capture_output=True, text=True
    )


def verified(study, *run):
    """Return the exit status and the lines of `lorebridge verify` that tell of a failure."""
    done = lorebridge(study, "verify", *run, "--config", "study.yaml")
    return done.returncode, [line for line in done.stdout.splitlines() if line.startswith("FAILED")]


def write(path, content):
    path.unlink()  # a checkpoint may be a link into another folder
    path.write_bytes(content)


def damage(path):
    """Write zeros over the middle half, as a disk may that lost some blocks; of a table, over that of its data."""
    content = path.read_bytes()
    data = len(content) - (8 + int.from_bytes(content[-8:-4], "little") if path.suffix == ".parquet" else 0)
    write(path, content[: data // 4] + bytes(data // 2) + content[data // 4 + data // 2 :])


def forty_tokens(path):
    content = path.read_bytes()
    write(path, content[:400] + (7).to_bytes(4, "little") * 40 + content[560:])


def two_bytes(path):
    content = bytearray(path.read_bytes())
    for at in (-1000, -500):
        content[at] ^= 1
    write(path, bytes(content))


def one_byte(path):
    """Of a table: in the data of its first page, so that nothing but a checksum can tell."""
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    write(path, bytes(content))


def by_hand(path):
    """Give one option of every question the best score, in a table that is whole."""
    table = pq.read_table(path)
    scores = [0.0 if index == 0 else -9.0 for index in table["option_index"].to_pylist()]
    column = table.schema.get_field_index("sum_logprob")
    path.unlink()
    pq.write_table(table.set_column(column, table.schema.field(column), [scores]), path)


# What is changed, how, the folder or file that the workflow makes of it, and what is made next: a file to take away.
CHANGED = {
    "a hand-edited table of scores": (
        "probes/scores/ko-bridge-s0.parquet",
        by_hand,
        "probes/scores/ko-bridge-s0.parquet",
        "transfer/accuracies.parquet",
    ),
    "forty overwritten tokens": (
        "tokens/pairs-ko-xx/tokens.bin",
        forty_tokens,
        "tokens/pairs-ko-xx/tokens.bin",
        "order/ko-bridge-s0.parquet",
    ),
    "two flipped bytes of a scored checkpoint": (
        f"{RUN}/step4/model.safetensors",
        two_bytes,
        f"{RUN}/step4",
        "probes/scores/ko-bridge-s0.parquet",
    ),
    "a changed order": ("order/ko-bridge-s0.parquet", one_byte, "order/ko-bridge-s0.parquet", f"{RUN}/metrics.parquet"),
    "a flipped byte of a table of scores": (
        "probes/scores/ko-bridge-s0.parquet",
        one_byte,
        "probes/scores/ko-bridge-s0.parquet",
        "transfer/accuracies.parquet",
    ),
    "a flipped byte of a table": (
        "trace/judgments/ko/ko.parquet",
        one_byte,
        "trace/judgments/ko/ko.parquet",
        "transfer/items.parquet",
    ),
    "a changed question of a planted world": (
        "world/questions/ko-culture-cloze_en.json",
        one_byte,
        "world/questions/ko-culture-cloze_en.json",
        "probes/files/ko-en.json",
    ),
    "another number in a table of the report": ("tables/gaps.csv", one_byte, "tables/gaps.csv", "report/summary.html"),
}


@pytest.mark.parametrize("what", CHANGED)
def test_a_change_stops_what_is_made_next_and_the_advice_mends_it(finished, tmp_path, what):
    name, change, output, following = CHANGED[what]
    study = finished.copy(tmp_path / "study")
    path, made = study.results / name, study.results / following
    whole, then, before = path.read_bytes(), file_digest(path), made.read_bytes()
    change(path)
    now = file_digest(path)
    assert study.planned() == {} or len(path.read_bytes()) != len(whole)  # of the same size only who reads it can tell
    status, failed = verified(study)
    assert status == 1 and any(f"/{name}: changed since" in line and then in line and now in line for line in failed)
    explained = lorebridge(study, "explain", f"results/tiny/{name}").stdout
    assert "changed since" in explained and then in explained and now in explained
    if len(path.read_bytes()) == len(whole):
        made.unlink()
        output_text = study.snakemake("--cores", "2", f"results/tiny/{following}", check=False)
        lines = [line for line in output_text.splitlines() if "error: results/tiny/" in line]
        assert len({line.split("error: ")[1] for line in lines}) == 1, output_text[-4000:]
        assert f"results/tiny/{name}: changed since" in lines[0] and then in lines[0] and now in lines[0]
        [advice] = re.findall(r"snakemake (--forcerun \S+)", lines[0])
        assert advice == f"--forcerun results/tiny/{output}"
        study.run(*shlex.split(advice))
        assert made.read_bytes() == before
    else:  # found by the dry run, which makes it again without being asked
        study.run()
    assert path.read_bytes() == whole
    assert verified(study) == (0, [])
    assert study.planned() == {}


def test_a_study_is_whole_and_the_page_says_so(finished):
    assert verified(finished) == (0, [])
    done = lorebridge(finished, "verify", "--config", "study.yaml")
    assert re.search(r"\n\d+ artifacts checked, [\d,]+ bytes: none has changed\n$", done.stdout)
    page = (finished.results / "report" / "summary.html").read_text(encoding="utf-8")
    assert re.search(r"The \d+ artifacts that the figures and tables were drawn from .*: none has changed\.", page)


def test_a_page_that_is_written_anew_names_what_has_changed(finished, tmp_path):
    study = finished.copy(tmp_path / "study")
    one_byte(study.results / "transfer" / "gaps.parquet")
    study.run("--forcerun", "results/tiny/report/summary.html")
    page = (study.results / "report" / "summary.html").read_text(encoding="utf-8")
    assert re.search(r"The \d+ artifacts that .*: changed since: transfer/gaps\.parquet\.", page)


SHARDS = {"signatures": 1, "filter_corpus": 1}


@pytest.mark.parametrize(
    ("names", "rules"),
    [
        (["transfer/gaps.parquet", "trace/judgments/ko/ko.parquet"], {"gaps": 1, "judge": 1}),
        ([f"{RUN}/step4/model.safetensors"], {"train_continual": 1}),
        (["tables/gaps.csv", "figures/gaps.svg"], {"table": 1, "draw_gaps": 1}),
        # The second is made from the first, through a file that is whole.
        ([f"corpora/ko/{name}-00000-of-00001.parquet" for name in ("signatures", "documents")], SHARDS),
    ],
)
def test_an_emptied_file_is_something_to_be_done(finished, tmp_path, names, rules):
    study = finished.copy(tmp_path / "study")
    for name in names:
        write(study.results / name, b"")
    told = study.snakemake("--dry-run")
    for name in names:
        assert (
            len(re.findall(rf"results/tiny/{name}: changed since \w+ made it: .* has 0; it is made again", told)) == 1
        )
    assert study.counted(told) == rules


@pytest.mark.parametrize("option", [["--forcerun"], []], ids=["asked for by its files", "asked for by a change"])
def test_what_is_made_behind_a_whole_file_is_made_in_the_same_invocation(finished, tmp_path, option):
    study = finished.copy(tmp_path / "study")
    first, second = (
        study.results / f"corpora/ko/{name}-00000-of-00001.parquet" for name in ("signatures", "documents")
    )
    asked = [str(path.relative_to(study.folder)) for path in (first, second)] if option else []
    if not option:
        first.unlink()
        study.config["corpora"]["ko"]["heldout"] = 0.2
        study.write()
    planned = study.planned(*option, *asked)
    assert planned["signatures"] == planned["filter_corpus"] == 1


def test_two_damaged_files_in_one_chain_are_mended_by_one_invocation(finished, tmp_path):
    study = finished.copy(tmp_path / "study")
    store, order = (
        study.results / "tokens" / "pairs-ko-xx" / "tokens.bin",
        study.results / "order" / "ko-bridge-s0.parquet",
    )
    whole = [store.read_bytes(), order.read_bytes()]
    forty_tokens(store)
    one_byte(order)
    made = study.results / "trace" / "exposure" / "ko-bridge-s0.parquet"
    made.unlink()
    output = study.snakemake("--cores", "2", "results/tiny/trace/exposure/ko-bridge-s0.parquet", check=False)
    [line] = {line.split("error: ")[1] for line in output.splitlines() if "error: results/tiny/" in line}
    advice = shlex.split(line.split("make them again: snakemake ")[1])
    assert set(advice[1:]) == {f"results/tiny/{path.relative_to(study.results)}" for path in (store, order)}
    study.run(*advice)
    assert [store.read_bytes(), order.read_bytes()] == whole and made.exists()
    assert verified(study) == (0, [])


@pytest.mark.parametrize("name", DAMAGED)
def test_verify_finds_it_and_names_the_rule(finished, tmp_path, name):
    study = finished.copy(tmp_path / "study")
    assert verified(study, "ko-bridge-s0") == (0, [])
    damage(study.results / name)
    status, failed = verified(study, "ko-bridge-s0")
    assert status == 1
    assert any(line.endswith(f"Remade by: {DAMAGED[name]}") for line in failed), failed


def test_a_damaged_checkpoint_is_trained_again_to_the_same_bytes(finished, tmp_path):
    study = finished.copy(tmp_path / "study")
    folder = study.results / RUN
    whole = (folder / "step4" / "model.safetensors").read_bytes()
    damage(folder / "step4" / "model.safetensors")
    shutil.rmtree(folder / "step4")
    assert study.planned()["train_continual"] == 1
    study.run()
    assert (folder / "step4" / "model.safetensors").read_bytes() == whole
    assert verified(study) == (0, [])
