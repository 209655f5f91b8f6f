"""What a person sees of a run while it trains: a bar on the terminal and TensorBoard events."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

log = logging.getLogger("lorebridge.train")

CURVES = ("loss", "learning_rate", "grad_norm")


class Progress:
    """A bar with step, loss, tokens a second and the time left; and the same as events.

    Times are shown here and nowhere else, so that the table of metrics is the same in every run of one recipe. Events
    are an aid: where they cannot be written, the run says so once and goes on without.
    """

    def __init__(self, run: str, *, done: int, steps: int, positions: int, events: Path | None, shown: bool) -> None:
        """Begin after `done` of `steps` updates of `positions` positions each.

        Args:
            run: its name.
            done: updates made by earlier tries. Events that a killed try wrote of later ones are purged.
            steps: updates of the whole run.
            positions: of one batch.
            events: folder of the TensorBoard events of this run, or None.
            shown: whether this process is the one that shows.
        """
        self._steps, self._positions = steps, positions
        self._bar = tqdm(
            total=steps * positions,
            initial=done * positions,
            desc=run,
            unit="tok",
            unit_scale=True,
            mininterval=1,
            dynamic_ncols=True,
            disable=not shown,
        )
        self._writer: SummaryWriter | None = None
        if events and shown:
            from torch.utils.tensorboard.writer import SummaryWriter  # needs a package that torch does not bring

            self._writer = SummaryWriter(str(events), purge_step=done + 1)

    def __enter__(self) -> Progress:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Close the bar and the events."""
        self._bar.close()
        if self._writer:
            try:
                self._writer.close()
            except OSError as failed:
                log.warning("TensorBoard events end early: %s", failed)

    def show(self, row: Mapping[str, Any], seconds: float) -> None:
        """Show an update: its row of metrics, and what it took."""
        self._bar.set_postfix(step=f"{row['step']}/{self._steps}", loss=f"{row['loss']:.3f}", refresh=False)
        self._bar.update(self._positions)
        if self._writer:
            values = {name: row[name] for name in CURVES} | {"tokens_per_second": self._positions / seconds}
            try:
                for name, value in values.items():
                    self._writer.add_scalar(f"train/{name}", value, row["step"])
            except OSError as failed:
                self._drop(failed)

    def flush(self) -> None:
        """Bring the events to the disk: what a resume goes on from must be among them."""
        if self._writer:
            try:
                self._writer.flush()
            except OSError as failed:
                self._drop(failed)

    def _drop(self, failed: OSError) -> None:
        log.warning("no more TensorBoard events: %s", failed)
        self._writer = None
