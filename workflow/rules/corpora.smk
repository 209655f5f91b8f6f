# in:  sources (hub data sets, local files, a planted world)
# out: corpora/{lang}/{signatures,documents,heldout}-{shard}.parquet, corpora/{lang}/duplicates.parquet,
#      corpora/{lang}/audit.json, parallel/{lang}.parquet, parallel/{lang}.heldout.parquet
#
# A source is read twice, because a document may repeat one of another shard: first it is signed, then filtered.


rule signatures:
    input:
        unpack(needs("signatures")),
    output:
        **produces("signatures"),
    log:
        f"{plan.root}/logs/signatures/{{lang}}-{{shard}}.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(4000),
        runtime=escalated(240),
    params:
        task=task("signatures"),
    script:
        "../scripts/signatures.py"


rule duplicates:
    input:
        unpack(needs("duplicates")),
    output:
        **produces("duplicates"),
    log:
        f"{plan.root}/logs/duplicates/{{lang}}.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(16000),
        runtime=escalated(120),
    params:
        task=task("duplicates"),
    script:
        "../scripts/duplicates.py"


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
