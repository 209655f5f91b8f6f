# in:  corpora/{lang}/documents-*.parquet, probes/questions/{culture}.parquet
# out: trace/chunks/{corpus}.parquet, trace/hits/{corpus}/{culture}.parquet, trace/judgments/{corpus}/{culture}.parquet,
#      trace/density.parquet, and on a planted world trace/recovery.parquet


rule chunks:
    input:
        unpack(needs("chunks")),
    output:
        **produces("chunks"),
    params:
        task=task("chunks"),
    log:
        f"{plan.root}/logs/chunks/{{corpus}}.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(8000),
        runtime=escalated(120),
    script:
        "../scripts/chunks.py"


rule index:
    input:
        unpack(needs("index")),
    output:
        **produces("index"),
    params:
        task=task("index"),
    log:
        f"{plan.root}/logs/index/{{corpus}}.log",
    conda:
        "../../envs/retrieve.yaml"
    resources:
        mem_mb=escalated(16000),
        runtime=escalated(240),
    script:
        "../scripts/index.py"


def searched(wildcards):
    """The inputs of retrieval, with the index or the chunks that it searches under one name."""
    found = needs("hits")(wildcards)
    found["corpus"] = found.pop("index", None) or found.pop("chunks")
    return found


rule retrieve:
    input:
        unpack(searched),
    output:
        **produces("hits"),
    params:
        task=task("hits"),
    log:
        f"{plan.root}/logs/retrieve/{{corpus}}-{{culture}}.log",
    conda:
        "../../envs/retrieve.yaml"
    threads: HARDWARE["threads"]
    resources:
        gpu=lambda wildcards: min(1, HARDWARE["gpus"]) if plan.retriever(wildcards.corpus)["method"] == "dense" else 0,
        mem_mb=escalated(32000),
        runtime=escalated(360),
    shell:
        "lorebridge retrieve --task {params.task:q} --record {output.record:q} --rule {rule} --logfile {log:q}"
        " --corpus {input.corpus:q} --questions {input.questions:q} --out {output.hits:q} --threads {threads}"


rule judge:
    input:
        unpack(needs("judgments")),
    output:
        **produces("judgments"),
    params:
        task=task("judgments"),
        work=plan.work,
    log:
        f"{plan.root}/logs/judge/{{corpus}}-{{culture}}.log",
    conda:
        "../../envs/judge.yaml"
    resources:
        gpu=plan.config["tracing"]["judge"].get("gpus", 0),
        mem_mb=escalated(32000),
        runtime=escalated(720),
    shell:
        "lorebridge judge --task {params.task:q} --work {params.work:q} --record {output.record:q} --rule {rule}"
        " --logfile {log:q} --hits {input.hits:q} --chunks {input.chunks:q} --questions {input.questions:q}"
        " --out {output.judgments:q} --gpus {resources.gpu}"


rule density:
    input:
        unpack(needs("density")),
    output:
        **produces("density"),
    params:
        task=task("density"),
    log:
        f"{plan.root}/logs/density.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(8000),
        runtime=60,
    script:
        "../scripts/density.py"


if plan.planted:

    rule recovery:
        input:
            unpack(needs("recovery")),
        output:
            **produces("recovery"),
        params:
            task=task("recovery"),
        log:
            f"{plan.root}/logs/recovery.log",
        conda:
            "../../envs/cpu.yaml"
        resources:
            mem_mb=4000,
            runtime=30,
        script:
            "../scripts/recovery.py"
