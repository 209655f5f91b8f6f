"""Count what a run has read of every fact up to each of its checkpoints."""

from pathlib import Path

from lorebridge.records import Task
from lorebridge.trace.exposure import exposure

task = Task.loads(snakemake.params.task)
read = snakemake.input
subjects = {Path(path).stem: Path(path) for path in read.subjects}
langs = task.literals["langs"]
literals = {key: value for key, value in task.literals.items() if key != "langs"}
with task.making(snakemake.output.record, snakemake.rule, snakemake.log[0]) as notes:
    notes.update(
        exposure(
            **literals,
            order=Path(read.order[0]),
            stores={Path(path).parent.name: Path(path).parent for path in read.tokens},
            subjects={stream: subjects[lang] for stream, lang in langs.items()},
            mentions={Path(path).stem: Path(path) for path in read.mentions},
            tokenizer=Path(read.tokenizer[0]).parent,
            base=next(map(Path, read.get("exposure", [])), None),
            out=Path(snakemake.output.exposure),
        )
    )
