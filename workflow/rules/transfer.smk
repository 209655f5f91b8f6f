# in:  probes/scores/{run}.parquet, probes/questions/{culture}.parquet, trace/judgments/
# out: transfer/gaps.parquet, transfer/items.parquet


rule gaps:
    input:
        unpack(needs("gaps")),
    output:
        **produces("gaps"),
    params:
        task=task("gaps"),
    log:
        f"{plan.root}/logs/gaps.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(8000),
        runtime=60,
    script:
        "../scripts/gaps.py"


rule items:
    input:
        unpack(needs("items")),
    output:
        **produces("items"),
    params:
        task=task("items"),
    log:
        f"{plan.root}/logs/items.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(8000),
        runtime=30,
    script:
        "../scripts/items.py"
