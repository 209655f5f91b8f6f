"""How long Snakemake takes to know what a study needs, against the same graph without lorebridge.

    python benchmarks/dag.py [--languages N] [--seeds N] [--every N]

A planted study of N languages x 5 arms x N seeds that has not run: every job is planned. Two dry runs in processes of
their own: ours, and a plain Snakefile that looks the same inputs and outputs up in a dictionary (no recipes, no
records), which is the limit: Snakemake's own work. Both must plan the same jobs. Times are CPU seconds (user and
system), so that other load on the machine counts less: building the graph alone, and all of `snakemake -n`, start and
printing included. The goal is at most 1 ms a job and 0.3 ms a declared output for the graph.
"""

from __future__ import annotations

import argparse
import collections
import copy
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from lorebridge import config, studies
from lorebridge.plan import Plan
from lorebridge.plan.stage import WILDCARDS

ROOT = Path(__file__).parents[1]
ARMS = ["bridge", "no_bridge", "placebo", "labels_only", "glued"]
SCRIPTS = ["Hangul", "Tibetan", "Han", "Mongolian"]
LANGUAGES = [
    "ko",
    "bo",
    "zh",
    "mn",
    "ja",
    "hi",
    "bn",
    "ta",
    "te",
    "th",
    "my",
    "km",
    "lo",
    "ka",
    "hy",
    "el",
    "ru",
    "uk",
    "he",
    "ar",
    "fa",
    "ur",
    "am",
    "si",
    "gu",
]

# Runs Snakemake and says how long the graph took and how long all took.
TIMED = """
import sys, time
from snakemake import cli
import snakemake.workflow
build = snakemake.workflow.Workflow._build_dag
def timed(workflow):
    started = time.process_time()
    build(workflow)
    print(f"graph {time.process_time() - started}", file=sys.stderr)
snakemake.workflow.Workflow._build_dag = timed
try:
    cli.main()
finally:
    print(f"all {time.process_time()}", file=sys.stderr)
"""

PLAIN = """
import json
GRAPH = json.load(open(config["graph"]))
def needs(rule):
    return lambda wildcards: GRAPH["inputs"][rule][json.dumps(dict(wildcards.items()), sort_keys=True)]
def produces(rule):
    found = GRAPH["outputs"][rule]
    for key in {"checkpoints", "index"} & set(found):
        paths = found[key]
        found[key] = directory(paths) if isinstance(paths, str) else [directory(path) for path in paths]
    return found
wildcard_constraints:
    **GRAPH["constraints"],
rule all:
    input: GRAPH["targets"]
"""
RULE = """
rule {name}:
    input: unpack(needs({name!r}))
    output: **produces({name!r})
    log: {log!r}
    resources: mem_mb=lambda wildcards, attempt: 1000 * attempt, runtime=60
    shell: "true {{input}} {{output}}"
"""


def study(languages: int, seeds: int, every: int) -> dict[str, Any]:
    """The small planted study with so many languages, which share four scripts and Korean's settings."""
    demo = config.load(ROOT / "config" / "articles.yaml")
    study = copy.deepcopy(demo)
    for section in ("languages", "corpora", "parallel", "questions"):
        study[section] = {"en": study[section]["en"]} if "en" in study[section] else {}
        for number, lang in enumerate(LANGUAGES[:languages]):
            study[section][lang] = copy.deepcopy(demo[section]["ko"])
            if section == "languages":
                study[section][lang] |= {"name": lang.upper(), "script": SCRIPTS[number % len(SCRIPTS)]}
            if section == "questions":
                study[section][lang] = {"files": {k: {"kind": "planted"} for k in ("en", lang)}}
    study["world"].pop("languages")
    study["training"]["continual"] |= {"steps": 600, "checkpoints": {"every": every, "early": []}}
    return study | {"study": "dag", "arms": ARMS, "seeds": list(range(seeds))}


def plain(plan: Plan, folder: Path) -> Path:
    """Write the plan's graph as a Snakefile that knows nothing of lorebridge."""
    graph: dict[str, Any] = {"inputs": collections.defaultdict(dict), "outputs": {}, "targets": []}
    graph["constraints"] = WILDCARDS
    rules = []
    for stage, wildcards in plan.walk():
        w = dict(wildcards)
        fixed = {"figure": w.pop("figure")} if stage == "figure" else {}
        name = f"draw_{fixed['figure']}" if fixed else stage
        if name not in graph["outputs"]:
            graph["outputs"][name] = outputs = plan.outputs(stage, **fixed)
            found = re.findall(r"\{(\w+)\}", str(outputs["record"]))
            rules.append(
                RULE.format(name=name, log=f"logs/{name}" + "".join(f"-{{{k}}}" for k in dict.fromkeys(found)))
            )
        graph["inputs"][name][json.dumps(w, sort_keys=True)] = plan.reads(stage, **w, **fixed)
    for stage, wildcards in plan.targets():
        for key, paths in plan.outputs(stage, **dict(wildcards)).items():
            if key != "record":
                graph["targets"].append(paths)
    (folder / "graph.json").write_text(json.dumps(graph))
    snakefile = folder / "Snakefile"
    snakefile.write_text(PLAIN + "".join(rules))
    return snakefile


def dry_run(folder: Path, *arguments: str) -> tuple[float, float, dict[str, int]]:
    """Return the CPU seconds of the graph and of all, and the jobs by rule."""
    done = subprocess.run(
        [sys.executable, "-c", TIMED, "--dry-run", "--quiet", "rules", "--directory", str(folder), *arguments],
        env=dict(os.environ, PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"),
        capture_output=True,
        text=True,
    )
    printed = done.stdout + done.stderr
    if done.returncode:
        sys.exit(printed)
    graph, whole = (float(re.search(rf"^{what} ([\d.e-]+)$", printed, re.M).group(1)) for what in ("graph", "all"))
    table = printed.split("Job stats:")[1]
    return graph, whole, {k: int(n) for k, n in re.findall(r"^(\w+) +(\d+)$", table, re.M) if k not in ("all", "total")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--languages", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--every", type=int, default=20, help="steps between the checkpoints of 600 steps")
    arguments = parser.parse_args()
    settings = study(arguments.languages, arguments.seeds, arguments.every)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "study.yaml").write_text(yaml.safe_dump(settings, allow_unicode=True))
        plan = studies.plan(config.check(settings, name="study.yaml"))
        jobs, outputs, inputs = 0, 0, 0
        for stage, wildcards in plan.walk():
            files = plan.outputs(stage, **dict(wildcards)).values()
            jobs, outputs = jobs + 1, outputs + sum(1 if isinstance(f, str) else len(f) for f in files)
            inputs += sum(map(len, plan.reads(stage, **dict(wildcards)).values()))
        ours = dry_run(folder, "--snakefile", str(ROOT / "Snakefile"), "--configfile", str(folder / "study.yaml"))
        theirs = dry_run(folder, "--snakefile", str(plain(plan, folder)), "--config", f"graph={folder / 'graph.json'}")
    assert sum(ours[2].values()) == sum(theirs[2].values()) == jobs, (ours[2], theirs[2], jobs)
    goal = jobs * 1e-3 + outputs * 0.3e-3
    print(f"{jobs:,} jobs, {outputs:,} declared outputs, {inputs:,} inputs; goal for the graph {goal:.1f} s\n")
    print("| | graph, CPU s | ms a job | ms an output | of the goal | all of `snakemake -n`, CPU s |")
    print("|---|---|---|---|---|---|")
    for label, (graph, whole, _) in (("lorebridge", ours), ("Snakemake alone, the same graph", theirs)):
        shares = f"{1e3 * graph / jobs:.2f} | {1e3 * graph / outputs:.3f} | {graph / goal:.2f}"
        print(f"| {label} | {graph:.1f} | {shares} | {whole:.1f} |")
    print(f"| ratio | {ours[0] / theirs[0]:.2f} | | | | {ours[1] / theirs[1]:.2f} |")
    print(
        f"\n`{' '.join(['python', *sys.argv])}` on {platform.processor() or platform.machine()}, {os.cpu_count()} "
        f"cores, Python {platform.python_version()}"
    )


if __name__ == "__main__":
    main()
