"""Fetch the released questions of a culture in one language, or copy them from a local file."""

import shutil
from pathlib import Path

from lorebridge.corpora.sources import fetch_file
from lorebridge.records import Task

task = Task.loads(snakemake.params.task)
out = Path(snakemake.output.questions)
with task.making(snakemake.output.record, snakemake.rule, snakemake.log[0]):
    if task.literals["kind"] == "github":
        fetch_file(task.literals, out)
    else:
        shutil.copyfile(snakemake.input.sources[0], out)
