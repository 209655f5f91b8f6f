# in:  corpora/{lang}/documents-*.parquet, parallel/{lang}.parquet, probes/questions/{culture}.parquet,
#      order/{run}.parquet, tokens/{stream}/
# out: trace/chunks/{corpus}.parquet, trace/hits/{corpus}/{culture}.parquet, trace/judgments/{corpus}/{culture}.parquet,
#      trace/subjects/{lang}.parquet, trace/mentions/{stream}.parquet, trace/exposure/{run}.parquet,
#      trace/{occurrences,leaks,density}.parquet, and on a planted world trace/recovery.parquet


rule chunks:
    input:
        unpack(needs("chunks")),
    output:
        **produces("chunks"),
    log:
        f"{plan.root}/logs/chunks/{{corpus}}.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(8000),
        runtime=escalated(120),
    params:
        task=task("chunks"),
    script:
        "../scripts/chunks.py"


# Embeddings of a corpus are made once, block by block; the engine `scan` of BM25 needs no index.
rule index:
    input:
        unpack(needs("index")),
    output:
        **produces("index"),
    log:
        f"{plan.root}/logs/index/{{corpus}}.log",
    conda:
        "../../envs/retrieve.yaml"
    threads: HARDWARE["threads"]
    resources:
        gpu=lambda wildcards: (min(1, HARDWARE["gpus"]) if plan.retriever(wildcards.corpus)["method"] == "dense" else 0),
        nodes=1,
        mem_mb=escalated(32000),
        runtime=escalated(720),
    params:
        task=task("index"),
        work=plan.work,
    shell:
        "lorebridge index --task {params.task:q} --record {output.record:q} --rule index --logfile {log:q}"
        " --work {params.work:q} --chunks {input.chunks:q} --index {output.index:q} --threads {threads}"


rule retrieve:
    input:
        unpack(searched),
    output:
        **produces("hits"),
    log:
        f"{plan.root}/logs/retrieve/{{corpus}}-{{culture}}.log",
    conda:
        "../../envs/retrieve.yaml"
    threads: HARDWARE["threads"]
    resources:
        gpu=lambda wildcards: (min(1, HARDWARE["gpus"]) if plan.retriever(wildcards.corpus)["method"] == "dense" else 0),
        nodes=1,
        mem_mb=escalated(32000),
        runtime=escalated(360),
    params:
        task=task("hits"),
    shell:
        "lorebridge retrieve --task {params.task:q} --record {output.record:q} --rule retrieve --logfile {log:q}"
        " --corpus {input.corpus:q} --questions {input.questions:q} --out {output.hits:q} --threads {threads}"


rule translate:
    input:
        unpack(needs("translations")),
    output:
        **produces("translations"),
    log:
        f"{plan.root}/logs/translate/{{corpus}}-{{culture}}.log",
    conda:
        "../../envs/train.yaml"
    threads: HARDWARE["threads"]
    resources:
        gpu=min(1, HARDWARE["gpus"]),
        nodes=1,
        mem_mb=escalated(32000),
        runtime=escalated(720),
    params:
        task=task("translations"),
        work=plan.work,
    shell:
        "lorebridge translate --task {params.task:q} --record {output.record:q} --rule translate --logfile {log:q}"
        " --work {params.work:q} --hits {input.hits:q} --chunks {input.chunks:q} --questions {input.questions:q}"
        " --out {output.translations:q} --threads {threads}"


rule judge:
    input:
        unpack(judged),
    output:
        **produces("judgments"),
    log:
        f"{plan.root}/logs/judge/{{corpus}}-{{culture}}.log",
    conda:
        "../../envs/judge.yaml"
    threads: HARDWARE["threads"]
    resources:
        gpu=plan.judge_settings.get("gpus", 0),
        nodes=1,
        mem_mb=escalated(HARDWARE["memory_mb"]),
        runtime=escalated(720),
    params:
        task=task("judgments"),
        work=plan.work,
        settings=json.dumps(plan.judge_settings),
    shell:
        "lorebridge judge --task {params.task:q} --work {params.work:q} --record {output.record:q} --rule judge"
        " --logfile {log:q} --hits {input.hits:q} --chunks {input.chunks:q} --questions {input.questions:q}"
        " --translations {input.translations:q} --out {output.judgments:q} --settings {params.settings:q}"


rule subjects:
    input:
        unpack(needs("subjects")),
    output:
        **produces("subjects"),
    log:
        f"{plan.root}/logs/subjects/{{lang}}.log",
    conda:
        "../../envs/cpu.yaml"
    threads: HARDWARE["threads"]
    resources:
        mem_mb=escalated(16000),
        runtime=escalated(480),
    params:
        task=task("subjects"),
    script:
        "../scripts/subjects.py"


rule mentions:
    input:
        unpack(needs("mentions")),
    output:
        **produces("mentions"),
    log:
        f"{plan.root}/logs/mentions/{{stream}}.log",
    conda:
        "../../envs/cpu.yaml"
    threads: HARDWARE["threads"]
    resources:
        mem_mb=escalated(16000),
        runtime=escalated(480),
    params:
        task=task("mentions"),
    script:
        "../scripts/mentions.py"


rule exposure:
    input:
        unpack(needs("exposure")),
    output:
        **produces("exposure"),
    log:
        f"{plan.root}/logs/exposure/{{run}}.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(32000),
        runtime=escalated(120),
    params:
        task=task("exposure"),
    script:
        "../scripts/exposure.py"


rule occurrences:
    input:
        unpack(needs("occurrences")),
    output:
        **produces("occurrences"),
    log:
        f"{plan.root}/logs/occurrences.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(16000),
        runtime=60,
    params:
        task=task("occurrences"),
    script:
        "../scripts/occurrences.py"


rule leaks:
    input:
        unpack(needs("leaks")),
    output:
        **produces("leaks"),
    log:
        f"{plan.root}/logs/leaks.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(16000),
        runtime=60,
    params:
        task=task("leaks"),
    script:
        "../scripts/leaks.py"


rule density:
    input:
        unpack(needs("density")),
    output:
        **produces("density"),
    log:
        f"{plan.root}/logs/density.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(8000),
        runtime=60,
    params:
        task=task("density"),
    script:
        "../scripts/density.py"


if plan.planted:

    rule recovery:
        input:
            unpack(needs("recovery")),
        output:
            **produces("recovery"),
        log:
            f"{plan.root}/logs/recovery.log",
        conda:
            "../../envs/cpu.yaml"
        resources:
            mem_mb=4000,
            runtime=30,
        params:
            task=task("recovery"),
        script:
            "../scripts/recovery.py"
