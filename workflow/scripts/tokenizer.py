"""Train the study's tokenizer on equal bytes of every language, or fetch a released one."""

from pathlib import Path

from lorebridge.records import Task
from lorebridge.tokens.tokenizer import fetch_tokenizer, train_tokenizer

task = Task.loads(snakemake.params.task)
literals = dict(task.literals)
out = Path(snakemake.output.tokenizer).parent
with task.making(snakemake.output.record, snakemake.rule, snakemake.log[0]) as notes:
    if literals.pop("kind") == "pretrained":
        literals.pop("sha256", None)  # of a local folder; it is in the recipe
        notes.update(fetch_tokenizer(**literals, out=out))
    else:
        documents = [Path(path) for path in snakemake.input.documents]
        tables = [(path.parent.name, "text", path) for path in documents]
        notes.update(train_tokenizer(**literals, tables=tables, out=out))
