"""Ask the query service for people, or copy a response from a local file."""

import shutil
from pathlib import Path

from lorebridge.corpora.wikidata import fetch_people
from lorebridge.records import Task, file_digest

task = Task.loads(snakemake.params.task)
literals = dict(task.literals)
out = Path(snakemake.output.response)
with task.making(snakemake.output.record, snakemake.rule, snakemake.log[0]) as notes:
    if literals.pop("kind") == "wikidata":
        work = Path(snakemake.params.work) / "people" / task.recipe
        notes.update(fetch_people(**literals, **snakemake.params.settings, work=work, out=out))
        shutil.rmtree(work)
    else:
        shutil.copyfile(snakemake.input.sources[0], out)
        notes["sha256"] = file_digest(out)
