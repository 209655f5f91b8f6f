# What is drawn, and how it is presented, stands in lorebridge.figures.stages: a row for each figure and table.

# A rule for each figure, because each has its own caption and place in the report.
for figure in plan.figures:
    row = plan.study.figures[figure]

    rule:
        """Draw a figure; what it is drawn from says its row."""
        name:
            f"draw_{figure}"
        input:
            unpack(needs("figure", of={"figure": figure})),
        output:
            **makes(
                "figure",
                of={"figure": figure},
                pdf="figures/{figure}.pdf",
                svg="figures/{figure}.svg",
                png="figures/{figure}.png",
            )
            | {
                "svg": report(
                    f"{plan.root}/figures/{figure}.svg",
                    caption="../report/figure.rst",
                    category=row.category,
                    labels={"figure": row.title},
                )
            },
        log:
            f"{plan.root}/logs/draw/{figure}.log",
        conda:
            "../../envs/cpu.yaml"
        resources:
            mem_mb=escalated(4000),
            runtime=20,
        params:
            task=task("figure", of={"figure": figure}),
            text=row.text,
        script:
            "../scripts/make.py"


rule table:
    """Write a table of the report; what it is made from says its row."""
    input:
        unpack(needs("table")),
    output:
        **makes("table", csv="tables/{table}.csv", md="tables/{table}.md", tex="tables/{table}.tex")
        | {
            "csv": report(
                f"{plan.root}/tables/{{table}}.csv",
                caption="../report/table.rst",
                category="Tables",
                labels={"table": "{table}"},
            )
        },
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
        "../scripts/make.py"


rule page:
    """Write the study on one page: question, design, results, tables, provenance."""
    input:
        unpack(
            needs(
                "page",
                svg="figures/*.svg",
                csv="tables/*.csv",
                md="tables/*.md",
                questions="probes/questions/*.parquet | probes/sampled/*.parquet",
            )
        ),
    output:
        **makes("page", page="report/summary.html")
        | {
            "page": report(
                f"{plan.root}/report/summary.html",
                caption="../report/page.rst",
                category="Study",
                labels={"page": "Question, design, results"},
            )
        },
    log:
        f"{plan.root}/logs/page.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=4000,
        runtime=20,
    params:
        task=task("page"),
    script:
        "../scripts/make.py"
