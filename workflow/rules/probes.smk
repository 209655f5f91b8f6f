# in:  question files, models/, held-out documents and pairs
# out: probes/questions/{culture}.parquet, probes/sampled/{culture}.parquet, probes/{scores,perplexity,alignment}/{run}.parquet, probes/scorer.parquet


rule question_file:
    input:
        unpack(needs("question_file")),
    output:
        **produces("question_file"),
    log:
        f"{plan.root}/logs/question_file/{{culture}}-{{lang}}.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        task=task("question_file"),
    script:
        "../scripts/question_file.py"


rule questions:
    input:
        unpack(needs("questions")),
    output:
        **produces("questions"),
    log:
        f"{plan.root}/logs/questions/{{culture}}.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        task=task("questions"),
    script:
        "../scripts/questions.py"


rule sample_questions:
    input:
        unpack(needs("sample")),
    output:
        **produces("sample"),
    log:
        f"{plan.root}/logs/sample_questions/{{culture}}.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        task=task("sample"),
    script:
        "../scripts/sample_questions.py"


rule score:
    input:
        unpack(needs("scores")),
    output:
        **produces("scores"),
    log:
        f"{plan.root}/logs/score/{{run}}.log",
    conda:
        "../../envs/train.yaml"
    threads: HARDWARE["threads"]
    resources:
        gpu=min(1, HARDWARE["gpus"]),
        nodes=1,
        score_tokens=HARDWARE["score_tokens"],
        mem_mb=escalated(16000),
        runtime=escalated(120),
    params:
        task=task("scores"),
        work=plan.work,
    shell:
        "lorebridge probe --task {params.task:q} --record {output.record:q} --rule score --logfile {log:q}"
        " --checkpoints {input.checkpoints:q} --questions {input.questions:q} --heldout {input.heldout_documents:q}"
        " --pairs {input.heldout_pairs:q} --out {output.scores:q} --perplexity {output.perplexity:q}"
        " --alignment {output.alignment:q}"
        " --batch-tokens {resources.score_tokens} --threads {threads} --work {params.work:q}"
        " && lorebridge free --checkpoints {input.checkpoints:q} --work {params.work:q}"


rule random_models:
    input:
        unpack(needs("scorer")),
    output:
        **produces("scorer"),
    log:
        f"{plan.root}/logs/random_models.log",
    conda:
        "../../envs/train.yaml"
    threads: HARDWARE["threads"]
    resources:
        gpu=min(1, HARDWARE["gpus"]),
        nodes=1,
        score_tokens=HARDWARE["score_tokens"],
        mem_mb=escalated(16000),
        runtime=escalated(120),
    params:
        task=task("scorer"),
    shell:
        "lorebridge random-models --task {params.task:q} --record {output.record:q} --rule random_models"
        " --logfile {log:q} --questions {input.questions:q} --tokenizer {input.tokenizer:q} --out {output.scorer:q}"
        " --batch-tokens {resources.score_tokens} --threads {threads}"
