# in:  scores, questions, gaps, items, density, recovery, metrics, audits, data orders
# out: tables/{table}.{csv,md,tex}, figures/{figure}.{pdf,svg,png}

CAPTIONS = {
    "figure3": ("Results", "Accuracy by checkpoint"),
    "gaps": ("Results", "Gaps between arms"),
    "occurrences": ("Results", "Occurrences of transferred items"),
    "recovery": ("Validation", "Planted statements found again"),
    "losses": ("Training", "Loss"),
    "examples": ("Questions", "A question of each culture"),
}


def drawn(figure):
    """The output files of a figure, its vector image shown in the report."""
    files = produces("figure", figure=figure)
    category, label = CAPTIONS[figure]
    caption = f"../report/{figure}.rst"
    files["svg"] = report(files["svg"], caption=caption, category=category, labels={"figure": label})
    return files


rule draw_figure3:
    input:
        unpack(needs("figure", figure="figure3")),
    output:
        **drawn("figure3"),
    params:
        task=task("figure", figure="figure3"),
    log:
        f"{plan.root}/logs/draw/figure3.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=4000,
        runtime=20,
    script:
        "../scripts/figure.py"


rule draw_gaps:
    input:
        unpack(needs("figure", figure="gaps")),
    output:
        **drawn("gaps"),
    params:
        task=task("figure", figure="gaps"),
    log:
        f"{plan.root}/logs/draw/gaps.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=4000,
        runtime=20,
    script:
        "../scripts/figure.py"


rule draw_occurrences:
    input:
        unpack(needs("figure", figure="occurrences")),
    output:
        **drawn("occurrences"),
    params:
        task=task("figure", figure="occurrences"),
    log:
        f"{plan.root}/logs/draw/occurrences.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=4000,
        runtime=20,
    script:
        "../scripts/figure.py"


rule draw_losses:
    input:
        unpack(needs("figure", figure="losses")),
    output:
        **drawn("losses"),
    params:
        task=task("figure", figure="losses"),
    log:
        f"{plan.root}/logs/draw/losses.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=4000,
        runtime=20,
    script:
        "../scripts/figure.py"


rule draw_examples:
    input:
        unpack(needs("figure", figure="examples")),
    output:
        **drawn("examples"),
    params:
        task=task("figure", figure="examples"),
    log:
        f"{plan.root}/logs/draw/examples.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=4000,
        runtime=20,
    script:
        "../scripts/figure.py"


if plan.planted:

    rule draw_recovery:
        input:
            unpack(needs("figure", figure="recovery")),
        output:
            **drawn("recovery"),
        params:
            task=task("figure", figure="recovery"),
        log:
            f"{plan.root}/logs/draw/recovery.log",
        conda:
            "../../envs/cpu.yaml"
        resources:
            mem_mb=4000,
            runtime=20,
        script:
            "../scripts/figure.py"


def written():
    """The output files of a table, its Markdown shown in the report."""
    files = produces("table")
    files["csv"] = report(
        files["csv"], caption="../report/table.rst", category="Tables", labels={"table": "{table}"}
    )
    return files


rule table:
    input:
        unpack(needs("table")),
    output:
        **written(),
    params:
        task=task("table"),
    log:
        f"{plan.root}/logs/table/{{table}}.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=4000,
        runtime=20,
    script:
        "../scripts/table.py"
