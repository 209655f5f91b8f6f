"""Write one table."""

from pathlib import Path

from lorebridge.figures import summary
from lorebridge.records import Task
from lorebridge.tokens.order import order_summary

task = Task.loads(snakemake.params.task)
literals = dict(task.literals)
read = snakemake.input
base = literals.get("base")
audits = {Path(path).parent.name: Path(path) for path in read.get("audit", [])}
audits |= {f"{base}-{Path(path).name.split('.')[0]}": Path(path) for path in read.get("pairs_audit", [])}
tables = {
    "scores": [Path(path) for path in read.get("scores", [])],
    "questions": {Path(path).stem: Path(path) for path in read.get("questions", [])},
    "tokenizer": next((Path(path).parent for path in read.get("tokenizer", [])), None),
    "orders": [order_summary(path) for path in read.get("order", [])],
    "audits": audits,
    "gaps": next(map(Path, read.get("gaps", [])), None),
    "items": next(map(Path, read.get("transferred", [])), None),
    "density": next(map(Path, read.get("density", [])), None),
    "recovery": next(map(Path, read.get("recovery", [])), None),
}
with task.making(snakemake.output.record, snakemake.rule, snakemake.log[0]):
    write = getattr(summary, literals.pop("table"))
    given = {key: value for key, value in tables.items() if value}
    write(**literals, **given, out=Path(snakemake.output.csv).with_suffix(""))
