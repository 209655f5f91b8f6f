# in:  scores, questions, gaps, items, density, recovery, metrics, audits, data orders
# out: tables/{table}.{csv,md,tex}, figures/{figure}.{pdf,svg,png}


rule draw_figure3:
    input:
        unpack(needs("figure", figure="figure3")),
    output:
        **drawn("figure3"),
    log:
        f"{plan.root}/logs/draw/figure3.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=4000,
        runtime=20,
    params:
        task=task("figure", figure="figure3"),
    script:
        "../scripts/figure.py"


rule draw_gaps:
    input:
        unpack(needs("figure", figure="gaps")),
    output:
        **drawn("gaps"),
    log:
        f"{plan.root}/logs/draw/gaps.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=4000,
        runtime=20,
    params:
        task=task("figure", figure="gaps"),
    script:
        "../scripts/figure.py"


rule draw_occurrences:
    input:
        unpack(needs("figure", figure="occurrences")),
    output:
        **drawn("occurrences"),
    log:
        f"{plan.root}/logs/draw/occurrences.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=4000,
        runtime=20,
    params:
        task=task("figure", figure="occurrences"),
    script:
        "../scripts/figure.py"


rule draw_losses:
    input:
        unpack(needs("figure", figure="losses")),
    output:
        **drawn("losses"),
    log:
        f"{plan.root}/logs/draw/losses.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=4000,
        runtime=20,
    params:
        task=task("figure", figure="losses"),
    script:
        "../scripts/figure.py"


rule draw_examples:
    input:
        unpack(needs("figure", figure="examples")),
    output:
        **drawn("examples"),
    log:
        f"{plan.root}/logs/draw/examples.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=4000,
        runtime=20,
    params:
        task=task("figure", figure="examples"),
    script:
        "../scripts/figure.py"


if plan.planted:

    rule draw_recovery:
        input:
            unpack(needs("figure", figure="recovery")),
        output:
            **drawn("recovery"),
        log:
            f"{plan.root}/logs/draw/recovery.log",
        conda:
            "../../envs/cpu.yaml"
        resources:
            mem_mb=4000,
            runtime=20,
        params:
            task=task("figure", figure="recovery"),
        script:
            "../scripts/figure.py"


rule table:
    input:
        unpack(needs("table")),
    output:
        **written(),
    log:
        f"{plan.root}/logs/table/{{table}}.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=4000,
        runtime=20,
    params:
        task=task("table"),
    script:
        "../scripts/table.py"
