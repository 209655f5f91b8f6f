"""Draw one figure."""

from pathlib import Path

from lorebridge.figures.curves import figure3, losses
from lorebridge.figures.effects import gaps, occurrences
from lorebridge.figures.examples import examples
from lorebridge.figures.truth import recovery
from lorebridge.records import Task

DRAW = {f.__name__: f for f in (figure3, losses, gaps, occurrences, examples, recovery)}

task = Task.loads(snakemake.params.task)
literals = dict(task.literals)
read = snakemake.input
tables = {
    "scores": [Path(path) for path in read.get("scores", [])],
    "questions": {Path(path).stem: Path(path) for path in read.get("questions", [])},
    "metrics": {
        path.rsplit("/models/", 1)[1].replace("/", "-").removesuffix("-metrics.parquet"): Path(path)
        for path in read.get("metrics", [])
    },
    "gaps": next(map(Path, read.get("gaps", [])), None),
    "items": next(map(Path, read.get("transferred", [])), None),
    "recovery": next(map(Path, read.get("recovery", [])), None),
}
with task.making(snakemake.output.record, snakemake.rule, snakemake.log[0]):
    draw = DRAW[literals.pop("figure")]
    draw(
        **literals,
        **{key: value for key, value in tables.items() if value},
        out=Path(snakemake.output.png).with_suffix(""),
    )
