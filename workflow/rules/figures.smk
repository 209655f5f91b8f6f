# in:  the tables of all stages
# out: tables/{table}.{csv,md,tex}, figures/{figure}.{pdf,svg,png}, report/summary.html

# A rule for each figure, because each has its own caption and place in the report.
for figure in plan.figures:

    rule:
        name:
            f"draw_{figure}"
        input:
            unpack(needs("figure", figure=figure)),
        output:
            **drawn(figure),
        log:
            f"{plan.root}/logs/draw/{figure}.log",
        conda:
            "../../envs/cpu.yaml"
        resources:
            mem_mb=escalated(4000),
            runtime=20,
        params:
            task=task("figure", figure=figure),
        script:
            "../scripts/draw.py"


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
        "../scripts/draw.py"


rule page:
    input:
        unpack(needs("page")),
    output:
        **shown(),
    log:
        f"{plan.root}/logs/page.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=4000,
        runtime=20,
    params:
        task=task("page"),
        captions=captions(),
    script:
        "../scripts/page.py"
