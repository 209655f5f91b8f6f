"""Translation with a tiny random model of NLLB's architecture: what is read, kept and written, not how well."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import M2M100Config, M2M100ForConditionalGeneration, NllbTokenizer

from lorebridge import tables
from lorebridge.errors import Busy, InputError
from lorebridge.trace import translation
from lorebridge.trace.judges import judge
from lorebridge.trace.translation import Translator, check_source, translate
from lorebridge.work import locked

SENTENCES = "".join(f"བོད་སྐད་{digit * 3}་ནི་སྐད་རིགས་ཤིག་རེད། " for digit in "༠༡༢༣༤༥༦༧༨༩")
TEXTS = {"a/1#0": "རྒྱལ་ས་ནི་ལྷ་ས་རེད།", "a/2#0": SENTENCES + "རྒྱལ་ས་ནི་ལྷ་ས་རེད།", "a/3#0": "ཆུ་རིང་པོ་རེད།", "a/4#0": "no hit"}
ITEMS = [("རྒྱལ་ས་ནི་____རེད།", ["ལྷ་ས", "གཞིས་ཀ་རྩེ"], "ལྷ་ས"), ("ཆུ་ནི་____རེད།", ["རིང་པོ", "ཆུང་ཆུང"], "གཞན")]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("nllb")
    letters = sorted(
        {*"".join(TEXTS.values()), *"".join(text + "".join(o) for text, o, _ in ITEMS), *"abcdefgh"} - {" "}
    )
    vocabulary = {token: i for i, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", "▁", *letters])}
    tokenizer = NllbTokenizer(vocab=vocabulary, merges=[])
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = M2M100Config(
        vocab_size=len(tokenizer),
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=256,
        decoder_start_token_id=2,
        init_std=0.5,
    )
    random = M2M100ForConditionalGeneration(config)
    # A random model writes letters rather than the names of two hundred languages.
    random.model.shared.weight.data[len(vocabulary) :] *= 0.2
    random.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def run(tmp_path, model, write_chunks, write_questions):
    def run(texts=TEXTS, **changes):
        pairs = [(i, c) for i in range(2) for c in ("a/1#0", "a/2#0", "a/3#0")]
        hits = [
            {"question_id": f"bo-{i:04d}", "chunk_id": c, "doc_id": c, "rank": 1, "score": 1.0, "method": "bm25"}
            for i, c in pairs
        ]
        tables.write("hits", hits, tmp_path / "hits.parquet")
        how = {"lang": "bo", "script": "Tibetan", "model": model, "source_code": "bod_Tibt", "threads": 1}
        how |= {"target_code": "eng_Latn", "max_tokens": 64, "beams": 2, "work": tmp_path / "work"}
        notes = translate(
            **how
            | {"hits": tmp_path / "hits.parquet", "chunks": write_chunks(tmp_path / "chunks.parquet", texts)}
            | {"questions": write_questions(tmp_path / "questions.parquet", "bo", {"bo": ITEMS})}
            | {"out": tmp_path / "translations.parquet"}
            | changes
        )
        return notes, tables.read(tmp_path / "translations.parquet")

    return run


@pytest.fixture
def batches(monkeypatch):
    """Two windows a batch; records them; dies in the batch that `die_at` counts."""
    real, seen = Translator.translate, []

    def counted(self, texts):
        seen.append(list(texts))
        if len(seen) == counted.die_at:
            raise KeyboardInterrupt
        return real(self, texts)

    counted.die_at = None
    counted.seen = seen
    monkeypatch.setattr(translation, "_BATCH", 2)
    monkeypatch.setattr(Translator, "translate", counted)
    return counted


def test_hits_and_statements_are_translated_each_once(run, batches):
    notes, rows = run()
    assert list(zip(rows["kind"], rows["id"], strict=True)) == [
        ("chunk", "a/1#0"),
        ("chunk", "a/2#0"),
        ("chunk", "a/3#0"),
        ("statement", "bo-0000"),
    ]
    translated = [text for batch in batches.seen for text in batch]
    assert len(translated) == len(set(translated)) == notes["n_windows"]
    assert notes["n_chunks"] == 3 and notes["n_statements"] == 1
    assert rows["text"].str.len().min() > 0
    assert rows["text"].nunique() > 2


def test_a_long_chunk_is_translated_in_windows_that_end_with_sentences(run, model, batches):
    run()
    translator = Translator(
        model, revision=None, source_code="bod_Tibt", target_code="eng_Latn", max_tokens=64, beams=1
    )
    pieces = translator.windows(TEXTS["a/2#0"])
    assert "".join(pieces) == TEXTS["a/2#0"]
    assert len(pieces) > 4
    assert all(piece.endswith("། ") for piece in pieces[:-1])
    assert max(map(translator.length, pieces)) <= 64
    translated = [text for batch in batches.seen for text in batch]
    assert {*pieces} <= {*translated}
    assert all(translator.length(text) <= 64 for text in translated)


def test_a_text_without_sentences_is_cut_where_the_model_is_full(model):
    translator = Translator(
        model, revision=None, source_code="bod_Tibt", target_code="eng_Latn", max_tokens=64, beams=1
    )
    lengths = [translator.length(piece) for piece in translator.windows("རིང" * 60)]
    assert len(lengths) > 2 and max(lengths) <= 64


def test_a_letter_that_the_model_does_not_know_counts_as_one(run, model):
    translator = Translator(
        model, revision=None, source_code="bod_Tibt", target_code="eng_Latn", max_tokens=64, beams=1
    )
    assert translator.unknown(["abcdefgh", "abЖcdefgh"]) == pytest.approx(1 / 19)  # each begins with a mark
    notes, _ = run(texts=TEXTS | {"a/1#0": "Ж" + TEXTS["a/1#0"]})
    assert notes["n_chunks"] == 3


@pytest.mark.parametrize(("said", "cut"), [({"forced_eos_token_id": 2}, False), ({"suppress_tokens": [2]}, True)])
def test_a_translation_that_does_not_end_is_cut(model, tmp_path, said, cut):
    """Of two models, one ends whatever it writes, and one never does."""
    folder = shutil.copytree(model, tmp_path / "model")
    generation = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps(generation | said))
    translator = Translator(
        str(folder), revision=None, source_code="bod_Tibt", target_code="eng_Latn", max_tokens=16, beams=1
    )
    assert [found.cut for found in translator.translate(["ཆུ།", "རིང་པོ་རེད།"])] == [cut, cut]


def test_pickled_weights_are_refused(model, tmp_path):
    """A model that has no safetensors, even if torch could read what it has."""
    folder = shutil.copytree(model, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    translator = Translator(
        str(folder), revision=None, source_code="bod_Tibt", target_code="eng_Latn", max_tokens=64, beams=1
    )
    with pytest.raises(InputError, match=r"model.safetensors.*pickled weights are never read"):
        translator.translate(["ཆུ།"])


def test_the_lines_of_a_translation_are_its_windows_in_order(run, model, tmp_path):
    _, rows = run()
    [journal] = tmp_path.glob("work/translations.jsonl")
    said = {row["text"] for row in map(json.loads, journal.read_text().splitlines())}
    translator = Translator(
        model, revision=None, source_code="bod_Tibt", target_code="eng_Latn", max_tokens=64, beams=2
    )
    alone = [translator.translate([piece])[0].text for piece in translator.windows(TEXTS["a/2#0"])]
    assert len(alone) > 4
    assert rows.set_index("id")["text"]["a/2#0"].split("\n") == alone
    assert {*alone} <= said


def test_source_and_target_reach_the_model(run):
    _, english = run()
    _, chinese = run(target_code="zho_Hans")
    _, dzongkha = run(source_code="dzo_Tibt")
    assert not english["text"].equals(chinese["text"])
    assert not english["text"].equals(dzongkha["text"])


def test_a_killed_job_loses_at_most_the_batch_in_flight(run, batches, tmp_path):
    run(work=tmp_path / "whole")
    whole, seen = (tmp_path / "translations.parquet").read_bytes(), [*batches.seen]
    batches.seen.clear()
    batches.die_at = 3
    with pytest.raises(KeyboardInterrupt):
        run()
    batches.die_at = None
    run()
    assert batches.seen == [*seen[:3], *seen[2:]]
    assert (tmp_path / "translations.parquet").read_bytes() == whole
    # A batch of which a line is torn is translated again, in the same company.
    journal = tmp_path / "work" / "translations.jsonl"
    journal.write_bytes(journal.read_bytes()[:-5])
    batches.seen.clear()
    run()
    assert batches.seen == seen[-1:]
    assert (tmp_path / "translations.parquet").read_bytes() == whole
    with locked(tmp_path / "work"), pytest.raises(Busy):
        run()


def test_what_does_not_end_is_cut_and_counted(run, caplog):
    notes, _ = run()
    assert 0 <= notes["cut"] <= notes["n_windows"]
    if notes["cut"]:
        assert f"{notes['cut']} of {notes['n_windows']} translations are cut at 64 tokens" in caplog.text


def test_a_blank_chunk_has_an_empty_translation(run):
    _, rows = run(texts=TEXTS | {"a/3#0": " \n "})
    assert rows.set_index("id")["text"]["a/3#0"] == ""


def test_a_judge_reads_the_translations(run, tmp_path, monkeypatch):
    _, rows = run()
    asked = {}

    def ask(pairs, *, statements, passages, **_):
        asked.update(statements=statements, passages=passages)
        return {}

    monkeypatch.setattr("lorebridge.trace.llm.ask", ask)
    how = {"kind": "vllm", "model": "m", "lang": "bo", "script": "Tibetan", "work": tmp_path / "judge"}
    files = {name: tmp_path / f"{name}.parquet" for name in ("hits", "chunks", "questions", "translations")}
    judge(**how, **files, out=tmp_path / "judgments.parquet")
    texts = rows.set_index("id")["text"].to_dict()
    assert asked["statements"] == {"bo-0000": texts.pop("bo-0000")}
    assert asked["passages"] == texts
    tables.write("translations", rows[rows["id"] != "a/2#0"], tmp_path / "translations.parquet")
    with pytest.raises(InputError, match=r"translations\.parquet: lacks 1 chunks .*a/2#0"):
        judge(**how, **files, out=tmp_path / "judgments.parquet")
    with pytest.raises(InputError, match="cooccurrence reads no translations"):
        judge(**how | {"kind": "cooccurrence"}, **files, out=tmp_path / "judgments.parquet")


def test_a_local_model_is_the_folder_of_its_files(run, model):
    """Behind whatever code it learned the script."""
    files = [str(path) for path in sorted(Path(model).rglob("*")) if path.is_file()]
    _, named = run()
    _, local = run(model="local", files=files)
    assert local.equals(named)
    run(model="local", files=files, source_code="khk_Cyrl", script="Mongolian")


def test_a_model_that_does_not_know_the_letters_is_refused(run):
    """As NLLB as released would read traditional Mongolian: as tokens that stand for nothing."""
    texts = TEXTS | {"a/2#0": "ᠮᠣᠩᠭᠣᠯ ᠬᠡᠯᠡ ᠪᠢᠴᠢᠭ " * 20}
    with pytest.raises(InputError, match=r"does not know the letters of bo: \d+% .*leave tracing.translation.bo out"):
        run(texts=texts)


def test_bad_input_names_the_place(run, tmp_path):
    with pytest.raises(InputError, match=r"khk_Cyrl is not the Mongolian script: NLLB .* no code for the traditional"):
        run(script="Mongolian", source_code="khk_Cyrl")
    with pytest.raises(InputError, match="does not know the language code 'mvf_Mong'"):
        run(script="Mongolian", source_code="mvf_Mong")
    with pytest.raises(InputError, match=r"nowhere: cannot be loaded as a translation model"):
        run(model=str(tmp_path / "nowhere"))
    check_source("Mongolian", "mn")
    check_source("Devanagari", "hin_Deva")
    with pytest.raises(InputError, match="zho_Hans is not the Tibetan script"):
        check_source("Tibetan", "zho_Hans")
