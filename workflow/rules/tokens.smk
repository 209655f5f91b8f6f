# in:  corpora/{lang}/documents-*.parquet, parallel/{lang}.parquet; trace/mentions/pairs-{lang}-*.parquet for the order
#      of an arm that leaves out the pairs that state an answer, or the others
# out: tokenizer/, tokens/{stream}/, order/{run}.parquet


rule tokenizer:
    input:
        unpack(needs("tokenizer")),
    output:
        **produces("tokenizer"),
    log:
        f"{plan.root}/logs/tokenizer.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(8000),
        runtime=60,
    params:
        task=task("tokenizer"),
    script:
        "../scripts/tokenizer.py"


rule token_store:
    input:
        unpack(needs("tokens")),
    output:
        **produces("tokens"),
    log:
        f"{plan.root}/logs/token_store/{{stream}}.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(8000),
        runtime=escalated(360),
    params:
        task=task("tokens"),
    script:
        "../scripts/token_store.py"


rule order:
    input:
        unpack(needs("order")),
    output:
        **produces("order"),
    log:
        f"{plan.root}/logs/order/{{run}}.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(16000),
        runtime=escalated(120),
    params:
        task=task("order"),
    script:
        "../scripts/order.py"
