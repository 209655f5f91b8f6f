# in:  sources (hub data sets, local files, a planted world)
# out: corpora/{lang}/documents-{shard}.parquet, corpora/{lang}/audit.json, parallel/{lang}.parquet


rule filter_corpus:
    input:
        unpack(needs("corpus_shard")),
    output:
        **produces("corpus_shard"),
    log:
        f"{plan.root}/logs/filter_corpus/{{lang}}-{{shard}}.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(4000),
        runtime=escalated(240),
    params:
        task=task("corpus_shard"),
    script:
        "../scripts/filter_corpus.py"


rule audit_corpus:
    input:
        unpack(needs("corpus")),
    output:
        **produces("corpus"),
    log:
        f"{plan.root}/logs/audit_corpus/{{lang}}.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        task=task("corpus"),
    script:
        "../scripts/audit_corpus.py"


rule filter_pairs:
    input:
        unpack(needs("parallel")),
    output:
        **produces("parallel"),
    log:
        f"{plan.root}/logs/filter_pairs/{{lang}}.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(8000),
        runtime=escalated(240),
    params:
        task=task("parallel"),
    script:
        "../scripts/filter_pairs.py"
