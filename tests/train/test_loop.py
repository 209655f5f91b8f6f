"""The loop: what it publishes, that rounding apart nothing depends on the hardware, and that a resume is exact."""

import json
import math
import shutil

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from lorebridge import tables
from lorebridge.errors import Busy, InputError
from lorebridge.records import Task, write_record
from lorebridge.tokens.reader import IGNORED, OrderReader
from lorebridge.tokens.store import Store, build_store
from lorebridge.train.loop import train
from lorebridge.train.model import build, qwen2_config
from lorebridge.train.schedule import Schedule
from lorebridge.train.work import free, work_folder
from lorebridge.work import locked

EMBEDDINGS = "model.embed_tokens.weight"


def run(study, folder, **changes):
    notes = train(**{**study, **changes, "out": folder / "out", "work": folder / "work"})
    return notes, tables.read(folder / "out" / "metrics.parquet")


def weights(folder, step):
    return load_file(folder / "out" / f"step{step}" / "model.safetensors")


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def stop_after(monkeypatch, step):
    """Let the wall-clock budget run out when `step` updates are done."""
    from lorebridge.train import loop

    update = loop.Trainer.update

    def counted(trainer):
        result = update(trainer)
        if trainer.done == step:
            monkeypatch.setattr(loop.time, "monotonic", lambda: math.inf)
        return result

    monkeypatch.setattr(loop.Trainer, "update", counted)


def test_publishes_checkpoints_and_metrics(study, reference):
    folder, notes, metrics = reference
    assert sorted(p.name for p in (folder / "out").iterdir()) == ["metrics.parquet", "step0", "step3", "step8"]
    assert metrics["step"].tolist() == list(range(1, 9))
    named = metrics[["run", "learned", "arm", "seed"]].drop_duplicates()
    assert named.to_numpy().tolist() == [["base-s0", "en", "base", 0]]
    assert (metrics["tokens"] == 256).all() and (metrics["target_tokens"] <= 256).all()
    rates = Schedule(**study["schedule"])
    assert metrics["learning_rate"].tolist() == [rates.at(step, 8) for step in range(8)]
    assert metrics["loss"].iloc[-1] < metrics["loss"].iloc[0] - 0.3
    assert notes["n_target_tokens"] == metrics["target_tokens"].sum()
    assert set(notes["files"]) >= {"metrics.parquet", "step0/model.safetensors", "step8/config.json"}
    json.dumps(notes)  # it goes into a record


def test_first_loss_is_the_mean_over_the_targets_of_the_batch(study, reference):
    folder, _, metrics = reference
    batch = OrderReader.open(study["order"], study["stores"]).batch(0)
    model = AutoModelForCausalLM.from_pretrained(folder / "out" / "step0", dtype=torch.float32)
    sums, n = 0.0, 0
    for ids, targets, documents in zip(batch.input_ids, batch.targets, batch.documents, strict=True):
        for document in set(documents.tolist()) - {-1}:
            of_it = torch.from_numpy(documents == document)
            with torch.no_grad():
                logits = model(input_ids=torch.from_numpy(ids)[of_it][None]).logits[0]
            gold = torch.from_numpy(targets)[of_it]
            assert (gold != IGNORED).all()
            sums += F.cross_entropy(logits, gold, reduction="sum").item()
            n += len(gold)
    assert metrics["target_tokens"].iloc[0] == n
    assert metrics["loss"].iloc[0] == pytest.approx(sums / n, abs=1e-5)


def test_one_update_is_adamw_on_that_loss(study, reference, tmp_path):
    """The same update by hand, without engine, packing by rows of the mask, or chunked loss."""
    changes = {"checkpoint_steps": [1]}
    run(study, tmp_path, **changes)
    vocabulary = AutoTokenizer.from_pretrained(tmp_path / "out" / "step1")
    model = build(qwen2_config(study["model"], len(vocabulary), vocabulary.eos_token_id), study["seed"])
    batch = OrderReader.open(study["order"], study["stores"]).batch(0)
    ids, targets, positions, documents = (
        torch.from_numpy(a) for a in (batch.input_ids, batch.targets, batch.positions, batch.documents)
    )
    allowed = (documents[:, None, :, None] == documents[:, None, None, :]) & torch.ones(64, 64).tril().bool()
    logits = model(input_ids=ids, attention_mask={"full_attention": allowed}, position_ids=positions).logits
    F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED).backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    metrics = reference[2]
    assert metrics["grad_norm"].iloc[0] == pytest.approx(norm.item(), rel=1e-4)
    matrices = [p for name, p in model.named_parameters() if name.endswith("proj.weight")]
    others = [p for name, p in model.named_parameters() if not name.endswith("proj.weight")]
    torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
        lr=metrics["learning_rate"].iloc[0],
        betas=(0.9, 0.95),
        eps=1e-8,
    ).step()
    for name, tensor in weights(tmp_path, 1).items():
        torch.testing.assert_close(tensor, model.get_parameter(name).detach(), atol=1e-4, rtol=0, msg=name)


def test_checkpoints_load_offline_and_decode(study, reference):
    folder, _, _ = reference
    model = AutoModelForCausalLM.from_pretrained(folder / "out" / "step8", local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(folder / "out" / "step8", local_files_only=True)
    assert type(model).__name__ == "Qwen2ForCausalLM" and model.dtype == torch.float32
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id == model.config.eos_token_id
    assert tokenizer.decode(tokenizer("kira muso").input_ids) == "kira muso"
    out = model.generate(**tokenizer("kira", return_tensors="pt"), max_new_tokens=3, do_sample=False)
    assert out.shape[1] > 1


def test_bfloat16_checkpoints(study, reference, tmp_path):
    run(study, tmp_path, checkpoint_dtype="bfloat16")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "step8")
    assert model.dtype == torch.bfloat16
    exact, rounded = weights(reference[0], 8), weights(tmp_path, 8)
    assert all(torch.equal(exact[name].bfloat16(), rounded[name]) for name in exact)


def test_same_recipe_same_bytes(study, reference, tmp_path):
    again, _ = run(study, tmp_path)
    assert again["files"] == reference[1]["files"]  # metrics.parquet among them


@pytest.mark.parametrize("micro_batch", [1, 3])
def test_micro_batches_change_rounding_only(study, reference, tmp_path, micro_batch):
    _, metrics = run(study, tmp_path, micro_batch=micro_batch)
    for column in ("loss", "grad_norm"):
        assert metrics[column].tolist() == pytest.approx(reference[2][column].tolist(), rel=1e-3)
    assert metrics["target_tokens"].equals(reference[2]["target_tokens"])


@pytest.mark.parametrize("zero_stage", [1, 2])
def test_zero_stages_change_rounding_only_and_resume_exactly(
    study, reference, tmp_path, monkeypatch, assert_same_bytes, zero_stage
):
    _, metrics = run(study, tmp_path / "whole", zero_stage=zero_stage)
    for column in ("loss", "grad_norm"):
        assert metrics[column].tolist() == pytest.approx(reference[2][column].tolist(), rel=1e-3)
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        stop_after(patch, 3)
        run(study, tmp_path / "parts", zero_stage=zero_stage, budget_seconds=3600)
    run(study, tmp_path / "parts", zero_stage=zero_stage)
    assert_same_bytes(tmp_path / "whole", tmp_path / "parts")


def test_bfloat16_products_train_alike(study, reference, tmp_path):
    _, metrics = run(study, tmp_path, precision="bfloat16")
    assert metrics["loss"].tolist() == pytest.approx(reference[2]["loss"].tolist(), rel=0.02)
    assert weights(tmp_path, 8)["model.norm.weight"].dtype == torch.float32


def test_packing_matters_and_must_be_the_orders(study, reference, tmp_path):
    with pytest.raises(InputError, match="drawn for isolated packing, not concatenated"):
        run(study, tmp_path, packing="concatenated")
    concatenated = study["order"].with_name("concatenated.parquet")
    _, metrics = run(study, tmp_path, packing="concatenated", order=concatenated)
    assert metrics["loss"].iloc[-1] < metrics["loss"].iloc[0]
    assert metrics["loss"].tolist() != reference[2]["loss"].tolist()


def test_budget_stops_with_state_and_the_resume_is_exact(
    study, reference, tmp_path, monkeypatch, caplog, assert_same_bytes
):
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as stopped:
        stop_after(patch, 5)
        run(study, tmp_path, budget_seconds=3600)
    assert stopped.value.code == 75
    assert "base-s0: stopped at step 5 of 8 by the wall-clock budget; run again to resume" in caplog.text
    assert not (tmp_path / "out").exists()
    run(study, tmp_path)
    assert_same_bytes(reference[0], tmp_path)


def test_a_tiny_budget_still_makes_a_step(study, reference, tmp_path):
    for _ in range(7):
        with pytest.raises(SystemExit):
            run(study, tmp_path, budget_seconds=0, resume_interval=1000)
    run(study, tmp_path, budget_seconds=0, resume_interval=1000)  # the eighth is the last: it publishes
    assert same(weights(reference[0], 8), weights(tmp_path, 8))


def test_a_torn_state_costs_the_steps_since_the_one_before(study, reference, tmp_path, monkeypatch, caplog):
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        stop_after(patch, 5)  # states at 2, 4, 5
        run(study, tmp_path, budget_seconds=3600)
    newest = max((tmp_path / "work").glob("state-*/state.json"), key=lambda p: json.loads(p.read_text())["step"])
    tensors = newest.with_name("moments.safetensors")
    tensors.write_bytes(tensors.read_bytes()[:-10])
    run(study, tmp_path)
    assert "(step 5: moments.safetensors): falling back to step 4" in caplog.text
    assert same(weights(reference[0], 8), weights(tmp_path, 8))


def test_a_state_of_another_recipe_order_or_tokenizer_is_refused(study, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        stop_after(patch, 2)
        run(study, tmp_path, budget_seconds=3600)
    with pytest.raises(InputError, match="another recipe"):
        run(study, tmp_path, recipe="fedcba9876543210")
    other = study["order"].with_name("concatenated.parquet")
    with pytest.raises(InputError, match="another order"):
        run(study, tmp_path, order=other, packing="concatenated")
    tokenizer = shutil.copytree(study["tokenizer"], tmp_path / "tokenizer")
    changed = {**json.loads((tokenizer / "tokenizer.json").read_text()), "normalizer": None}
    (tokenizer / "tokenizer.json").write_text(json.dumps(changed))
    with pytest.raises(InputError, match="another tokenizer"):
        run(study, tmp_path, tokenizer=tokenizer)


def test_continual_pretraining_starts_at_the_base_with_a_fresh_optimizer(study, reference, tmp_path):
    folder, _, base = reference
    start = folder / "out" / "step8"
    mark = start / ".snakemake_timestamp"
    mark.touch()
    try:
        _, metrics = run(study, tmp_path, init_from=start, seed=7)
    finally:
        mark.unlink()  # other tests compare this folder
    assert same(weights(tmp_path, 0), weights(folder, 8))
    assert (tmp_path / "out" / "step0" / "model.safetensors").samefile(start / "model.safetensors")
    assert not (tmp_path / "out" / "step0" / ".snakemake_timestamp").exists()
    assert metrics["loss"].iloc[0] < base["loss"].iloc[-1] + 0.3
    assert metrics["learning_rate"].equals(base["learning_rate"])
    with pytest.raises(InputError, match="num_attention_heads"):
        run(study, tmp_path / "other", init_from=start, model={**study["model"], "num_attention_heads": 2})


def test_tokens_that_were_never_read_begin_at_the_mean_of_the_others(study, reference, tmp_path, monkeypatch):
    start = reference[0] / "out" / "step8"
    text = tmp_path / "text.parquet"
    tables.write("documents", [{"doc_id": "t/0", "title": "", "text": "aaa eee", "source": "t", "n_chars": 7}], text)
    build_store(tables=[text], column="text", tokenizer=study["tokenizer"], out=tmp_path / "mono-en")
    given = {"init_from": start, "unseen_tokens": "mean", "read_before": {"mono-en": tmp_path / "mono-en"}}
    run(study, tmp_path / "whole", **given)
    before, begun = weights(reference[0], 8), weights(tmp_path / "whole", 0)
    seen = set(Store.open(tmp_path / "mono-en").tokens.tolist())
    seen.add(AutoTokenizer.from_pretrained(start).eos_token_id)
    mean = before[EMBEDDINGS][sorted(seen)].mean(0)
    for token, (one, other) in enumerate(zip(before.pop(EMBEDDINGS), begun.pop(EMBEDDINGS), strict=True)):
        assert torch.equal(other, one if token in seen else mean)
    assert same(before, begun)
    # And a run that was stopped goes on from where it was, not from the mean.
    stop_after(monkeypatch, 3)
    with pytest.raises(SystemExit):
        run(study, tmp_path / "cut", **given, budget_seconds=1e9)
    monkeypatch.undo()
    run(study, tmp_path / "cut", **given, budget_seconds=1e9)
    assert same(weights(tmp_path / "cut", 8), weights(tmp_path / "whole", 8))


def test_a_finished_run_publishes_again_without_training(study, reference, tmp_path, monkeypatch):
    notes, _ = run(study, tmp_path)
    shutil.rmtree(tmp_path / "out")
    monkeypatch.setattr("lorebridge.train.loop.Trainer.update", None)  # would fail if it were called
    again, _ = run(study, tmp_path)
    assert again["files"] == notes["files"]
    task = Task(stage="base_model", literals={"run": "base-s0"})
    write_record(tmp_path / "out" / "record.json", task, notes=again, rule="train_base", wall_seconds=1)
    (tmp_path / "base-s0").mkdir()
    (tmp_path / "work").rename(work_folder(tmp_path, "base-s0", task.recipe))
    assert free(tmp_path, tmp_path / "out") and not list((tmp_path / "base-s0").iterdir())
    assert same(weights(reference[0], 8), weights(tmp_path, 8))


def test_a_second_trainer_is_refused(study, tmp_path):
    with locked(tmp_path / "work"), pytest.raises(Busy):
        run(study, tmp_path)


def test_misfitting_inputs_are_refused(study, tmp_path):
    with pytest.raises(InputError, match="has 8 steps, the run 9"):
        run(study, tmp_path, steps=9)
    with pytest.raises(InputError, match="checkpoint_steps: 12"):
        run(study, tmp_path, checkpoint_steps=[0, 12])


def test_a_store_of_other_content_is_refused(study, tmp_path):
    store = shutil.copytree(study["stores"]["mono-en"], tmp_path / "mono-en")
    notes = json.loads((store / "store.json").read_text())
    (store / "store.json").write_text(json.dumps({**notes, "digest": "0" * 16}))
    with pytest.raises(InputError, match="drawn for another content of the token store"):
        run(study, tmp_path, stores={"mono-en": store})


def test_dropout_is_refused(study, tmp_path):
    with pytest.raises(InputError, match="attention_dropout"):
        run(study, tmp_path, model={**study["model"], "attention_dropout": 0.1})


def test_divergence_is_one_clear_error(study, tmp_path):
    with pytest.raises(InputError, match=r"base-s0: the loss is (nan|inf) at step \d"):
        run(study, tmp_path, schedule={"lr": 1e30, "schedule": "constant"})
