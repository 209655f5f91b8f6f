from lorebridge.trace.stages import judge_settings, retriever


rule chunks:
    """Cut a corpus into chunks, the unit of retrieval."""
    input:
        unpack(needs("chunks", documents="corpora/{corpus}/documents-*.parquet", audit="corpora/{corpus}/audit.json")),
    output:
        **makes("chunks", chunks="trace/chunks/{corpus}.parquet"),
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
        "../scripts/make.py"


rule index:
    """Make what a corpus is searched by: embeddings, block by block, or a Lucene index."""
    input:
        unpack(needs("index", chunks="trace/chunks/{corpus}.parquet")),
    output:
        **makes("index", index="trace/index/{corpus}/index"),
    log:
        f"{plan.root}/logs/index/{{corpus}}.log",
    conda:
        "../../envs/retrieve.yaml"
    threads: HARDWARE["threads"]
    resources:
        gpu=lambda wildcards: (
            min(1, HARDWARE["gpus"]) if retriever(plan.study, wildcards.corpus)["method"] == "dense" else 0
        ),
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
    """Retrieve the chunks of a corpus that come nearest to each question of a culture."""
    input:
        unpack(
            needs(
                "retrieve",
                corpus="trace/chunks/{corpus}.parquet | trace/index/{corpus}/index",
                questions="probes/questions/{culture}.parquet | probes/sampled/{culture}.parquet",
            )
        ),
    output:
        **makes("retrieve", hits="trace/hits/{corpus}/{culture}.parquet"),
    log:
        f"{plan.root}/logs/retrieve/{{corpus}}-{{culture}}.log",
    conda:
        "../../envs/retrieve.yaml"
    threads: HARDWARE["threads"]
    resources:
        gpu=lambda wildcards: (
            min(1, HARDWARE["gpus"]) if retriever(plan.study, wildcards.corpus)["method"] == "dense" else 0
        ),
        nodes=1,
        mem_mb=escalated(32000),
        runtime=escalated(360),
    params:
        task=task("retrieve"),
    shell:
        "lorebridge retrieve --task {params.task:q} --record {output.record:q} --rule retrieve --logfile {log:q}"
        " --corpus {input.corpus:q} --questions {input.questions:q} --out {output.hits:q} --threads {threads}"


rule translate:
    """Translate hits and statements into the language that the judge reads."""
    input:
        unpack(
            needs(
                "translate",
                hits="trace/hits/{corpus}/{culture}.parquet",
                chunks="trace/chunks/{corpus}.parquet",
                questions="probes/questions/{culture}.parquet | probes/sampled/{culture}.parquet",
            )
        ),
    output:
        **makes("translate", translations="trace/translations/{corpus}/{culture}.parquet"),
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
        task=task("translate"),
        work=plan.work,
    shell:
        "lorebridge translate --task {params.task:q} --record {output.record:q} --rule translate --logfile {log:q}"
        " --work {params.work:q} --hits {input.hits:q} --chunks {input.chunks:q} --questions {input.questions:q}"
        " --out {output.translations:q} --threads {threads}"


rule judge:
    """Judge whether retrieved chunks state the facts asked for."""
    input:
        unpack(
            needs(
                "judge",
                hits="trace/hits/{corpus}/{culture}.parquet",
                chunks="trace/chunks/{corpus}.parquet",
                questions="probes/questions/{culture}.parquet | probes/sampled/{culture}.parquet",
                translations="trace/translations/{corpus}/{culture}.parquet",
                subjects="trace/subjects/{corpus}.parquet",
            )
        ),
    output:
        **makes("judge", judgments="trace/judgments/{corpus}/{culture}.parquet"),
    log:
        f"{plan.root}/logs/judge/{{corpus}}-{{culture}}.log",
    conda:
        "../../envs/judge.yaml"
    threads: HARDWARE["threads"]
    resources:
        gpu=lambda wildcards: judge_settings(plan.study).get("gpus", 0),
        nodes=1,
        mem_mb=escalated(HARDWARE["memory_mb"]),
        runtime=escalated(720),
    params:
        task=task("judge"),
        work=plan.work,
    shell:
        "lorebridge judge --task {params.task:q} --work {params.work:q} --record {output.record:q} --rule judge"
        " --logfile {log:q} --hits {input.hits:q} --chunks {input.chunks:q} --questions {input.questions:q}"
        " --translations {input.translations:q} --subjects {input.subjects:q} --out {output.judgments:q}"


rule subjects:
    """Find what names the subject of every question that is asked in a language, and by which rule."""
    input:
        unpack(
            needs(
                "subjects",
                documents="corpora/{lang}/documents-*.parquet",
                audit="corpora/{lang}/audit.json",
                questions="probes/questions/*.parquet",
                pairs="parallel/{lang}.parquet",
            )
        ),
    output:
        **makes("subjects", subjects="trace/subjects/{lang}.parquet"),
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
        "../scripts/make.py"


rule mentions:
    """Find every row of a text that names a subject or an answer."""
    input:
        unpack(
            needs(
                "mentions",
                texts="corpora/*/documents-*.parquet | parallel/*.parquet",
                audits="corpora/*/audit.json",
                subjects="trace/subjects/*.parquet | facts/subjects/*.parquet | removal/subjects/*.parquet",
            )
        ),
    output:
        **makes("mentions", mentions="trace/mentions/{stream}.parquet"),
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
        "../scripts/make.py"


rule exposure:
    """Count what a model has read of every fact up to each of its checkpoints."""
    input:
        unpack(
            needs(
                "exposure",
                order="order/{run}.parquet",
                stores="tokens/*/tokens.bin",
                subjects="trace/subjects/*.parquet | facts/subjects/*.parquet",
                mentions="trace/mentions/*.parquet",
                tokenizer="tokenizer/tokenizer.json",
                base="trace/exposure/*.parquet",
            )
        ),
    output:
        **makes("exposure", exposure="trace/exposure/{run}.parquet"),
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
        "../scripts/make.py"


rule fact_subjects:
    """Say what is looked for in texts on behalf of the facts that are asked in a language."""
    input:
        unpack(needs("fact_subjects", facts="facts/facts.parquet")),
    output:
        **makes("fact_subjects", subjects="facts/subjects/{lang}.parquet"),
    log:
        f"{plan.root}/logs/fact_subjects/{{lang}}.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(4000),
        runtime=20,
    params:
        task=task("fact_subjects"),
    script:
        "../scripts/make.py"


rule corpus_alarms:
    """Say whether corpora are in their languages, and whether two are alike, before facts are traced."""
    input:
        unpack(
            needs(
                "corpus_alarms",
                facts="facts/facts.parquet",
                corpora="corpora/*/documents-*.parquet",
                audits="corpora/*/audit.json",
            )
        ),
    output:
        **makes("corpus_alarms", corpus_alarms="facts/corpus_alarms.parquet"),
    log:
        f"{plan.root}/logs/corpus_alarms.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(8000),
        runtime=60,
    params:
        task=task("corpus_alarms"),
    script:
        "../scripts/make.py"


rule stretches:
    """Count the stretches of a text that hold the subject, the object, and both of every fact."""
    input:
        unpack(
            needs(
                "stretches",
                texts="corpora/*/documents-*.parquet",
                audits="corpora/*/audit.json",
                subjects="facts/subjects/*.parquet",
                tokenizer="tokenizer/tokenizer.json | models/given/*/model",
            )
        ),
    output:
        **makes("stretches", stretches="facts/stretches/{stream}.parquet"),
    log:
        f"{plan.root}/logs/stretches/{{stream}}.log",
    conda:
        "../../envs/train.yaml"
    threads: HARDWARE["threads"]
    resources:
        mem_mb=escalated(16000),
        runtime=escalated(480),
    params:
        task=task("stretches"),
    script:
        "../scripts/make.py"


rule origins:
    """Say whether the text of each language holds each fact: by stretches, by sentences, by what a run consumed."""
    input:
        unpack(
            needs(
                "origins",
                facts="facts/facts.parquet",
                texts="facts/subjects/*.parquet | trace/mentions/*.parquet | facts/stretches/*.parquet",
                exposure="trace/exposure/*.parquet",
                truth="world/truth.parquet",
            )
        ),
    output:
        **makes("origins", origins="facts/origins.parquet", origin_recovery="facts/origin_recovery.parquet"),
    log:
        f"{plan.root}/logs/origins.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(16000),
        runtime=60,
    params:
        task=task("origins"),
    script:
        "../scripts/make.py"


rule occurrences:
    """Count the mentions of every question in every text, the parallel text included."""
    input:
        unpack(needs("occurrences", texts="trace/subjects/*.parquet | trace/mentions/*.parquet | tokens/*/tokens.bin")),
    output:
        **makes("occurrences", occurrences="trace/occurrences.parquet"),
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
        "../scripts/make.py"


rule leaks:
    """Find the pairs whose halves state a fact outright."""
    input:
        unpack(needs("leaks", halves="trace/subjects/*.parquet | trace/mentions/*.parquet | parallel/*.parquet")),
    output:
        **makes("leaks", leaks="trace/leaks.parquet"),
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
        "../scripts/make.py"


rule density:
    """Estimate how densely each corpus states the facts that a culture's questions ask for."""
    input:
        unpack(
            needs(
                "density",
                corpora="probes/questions/*.parquet | probes/sampled/*.parquet | trace/hits/*/*.parquet | trace/judgments/*/*.parquet"
                " | trace/chunks/*.parquet | tokens/*/tokens.bin",
                occurrences="trace/occurrences.parquet",
            )
        ),
    output:
        **makes("density", density="trace/density.parquet"),
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
        "../scripts/make.py"


if plan.study.planted:

    rule recovery:
        """Compare what retrieval and judge found, and what a full reading finds, with what the planted world states."""
        input:
            unpack(
                needs(
                    "recovery",
                    truth="world/truth.parquet",
                    corpora="trace/hits/*/*.parquet | trace/judgments/*/*.parquet | trace/mentions/*.parquet"
                    " | trace/subjects/*.parquet | corpora/*/documents-*.parquet",
                )
            ),
        output:
            **makes("recovery", recovery="trace/recovery.parquet"),
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
            "../scripts/make.py"
