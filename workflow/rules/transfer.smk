# in:  probes/scores/{run}.parquet, probes/questions/{culture}.parquet, trace/leaks.parquet, trace/judgments/,
#      trace/exposure/{run}.parquet
# out: transfer/accuracies.parquet, transfer/gaps.parquet, transfer/asymmetry.parquet, transfer/items.parquet,
#      transfer/exposure_effects.parquet


rule accuracies:
    input:
        unpack(needs("accuracies")),
    output:
        **produces("accuracies"),
    log:
        f"{plan.root}/logs/accuracies.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(8000),
        runtime=60,
    params:
        task=task("accuracies"),
    script:
        "../scripts/accuracies.py"


rule gaps:
    input:
        unpack(needs("gaps")),
    output:
        **produces("gaps"),
    log:
        f"{plan.root}/logs/gaps.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(8000),
        runtime=60,
    params:
        task=task("gaps"),
    script:
        "../scripts/gaps.py"


rule items:
    input:
        unpack(needs("items")),
    output:
        **produces("items"),
    log:
        f"{plan.root}/logs/items.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(8000),
        runtime=30,
    params:
        task=task("items"),
    script:
        "../scripts/items.py"
