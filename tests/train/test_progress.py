"""What a person sees: the bar, and TensorBoard events without gaps or steps told twice."""

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from victim import Fate, launch

from lorebridge import tables
from lorebridge.train.progress import Progress


def curve(events, name):
    found = EventAccumulator(str(events)).Reload().Scalars(f"train/{name}")
    return [event.step for event in found], [event.value for event in found]


def test_events_of_a_killed_run_have_every_step_once(study, tmp_path):
    events = tmp_path / "events"
    assert launch(study, tmp_path, Fate("SIGKILL", step=5), events=events) == [-9]
    assert launch(study, tmp_path, Fate("SIGTERM", step=7), events=events) == [75]
    assert launch(study, tmp_path, events=events) == [0]
    metrics = tables.read(tmp_path / "out" / "metrics.parquet")
    for name in ("loss", "learning_rate", "grad_norm"):
        steps, values = curve(events, name)
        assert steps == list(range(1, 9))
        assert values == pytest.approx(metrics[name].tolist(), rel=1e-6)
    steps, values = curve(events, "tokens_per_second")
    assert steps == list(range(1, 9)) and min(values) > 0


def test_events_of_steps_that_are_made_again_are_purged(tmp_path):
    row = {"loss": 1.0, "learning_rate": 0.1, "grad_norm": 2.0}
    for done, last, loss in ((0, 6, 1.0), (3, 8, 2.0)):
        with Progress("r", done=done, steps=8, positions=4, events=tmp_path, shown=True) as progress:
            for step in range(done + 1, last + 1):
                progress.show({**row, "step": step, "loss": loss}, 0.5)
            progress.flush()
    assert curve(tmp_path, "loss") == (list(range(1, 9)), [1.0] * 3 + [2.0] * 5)
    assert set(curve(tmp_path, "tokens_per_second")[1]) == {8.0}


def test_the_bar_shows_step_loss_speed_and_time_left(tmp_path, capsys):
    with Progress("ko-bridge-s0", done=2, steps=8, positions=1000, events=None, shown=True) as progress:
        progress.show({"step": 3, "loss": 4.2}, 0.5)
        progress._bar.refresh()
    bar = capsys.readouterr().err.split("\r")[-1]
    assert "ko-bridge-s0:" in bar and "3.00k/8.00k" in bar and "loss=4.200" in bar and "step=3/8" in bar
    assert "tok/s" in bar and "<" in bar  # elapsed<left


def test_other_processes_show_nothing(tmp_path, capsys):
    with Progress("r", done=0, steps=8, positions=4, events=tmp_path / "events", shown=False) as progress:
        progress.show({"step": 1, "loss": 1.0}, 0.5)
        progress.flush()
    assert not capsys.readouterr().err and not (tmp_path / "events").exists()


def test_a_disk_that_takes_no_events_does_not_end_the_run(tmp_path, monkeypatch, caplog):
    with Progress("r", done=0, steps=8, positions=4, events=tmp_path, shown=True) as progress:

        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(progress._writer, "add_scalar", full)
        for step in (1, 2):
            progress.show({"step": step, "loss": 1.0, "learning_rate": 0.1, "grad_norm": 2.0}, 0.5)
    assert caplog.text.count("no more TensorBoard events") == 1
