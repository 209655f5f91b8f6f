"""List every question with whether it was transferred (appendix C.4) and how often the corpora state its fact."""

from pathlib import Path

from lorebridge.records import Task
from lorebridge.transfer.items import items

task = Task.loads(snakemake.params.task)
literals = dict(task.literals)
judgments: dict[str, dict[str, Path]] = {}
for (corpus, culture), path in zip(literals.pop("cells"), snakemake.input.judgments, strict=True):
    judgments.setdefault(corpus, {})[culture] = Path(path)
with task.making(snakemake.output.record, snakemake.rule, snakemake.log[0]) as notes:
    notes.update(
        items(
            **literals,
            scores=[Path(path) for path in snakemake.input.scores],
            questions={Path(path).stem: Path(path) for path in snakemake.input.questions},
            judgments=judgments,
            exposure=[Path(path) for path in snakemake.input.get("exposure", [])],
            leaks=Path(snakemake.input.leaks[0]),
            out=Path(snakemake.output.transferred),
            exposure_effects=Path(snakemake.output.exposure_effects),
        )
    )
