# Questions on pages, what is removed for their sake, and what models answer.
ASKING = plan.config["answering"]


rule pages:
    """Join the documents of all languages to pages."""
    input:
        unpack(needs("pages", documents="corpora/*/documents-*.parquet", stores="tokens/*/tokens.bin")),
    output:
        **makes("pages", pages="pages/pages.parquet"),
    log:
        f"{plan.root}/logs/pages.log",
    conda:
        f"{ENVIRONMENTS}/cpu.yaml"
    resources:
        mem_mb=escalated(16000),
        runtime=60,
    params:
        task=task("pages"),
    script:
        MAKE


rule qa_made:
    """Give questions on pages their translations, and have a language model write wrong options."""
    input:
        unpack(needs("qa_made")),
    output:
        **makes("qa_made", rows="qa/made/{made}.jsonl", calls="qa/made/{made}.calls.jsonl"),
    log:
        f"{plan.root}/logs/qa_made/{{made}}.log",
    conda:
        f"{ENVIRONMENTS}/cpu.yaml"
    resources:
        mem_mb=escalated(8000),
        runtime=escalated(720),
    params:
        task=task("qa_made"),
        work=plan.work,
    script:
        MAKE


rule qa:
    """Read the questions on pages that all languages have."""
    input:
        unpack(needs("qa", pages="pages/pages.parquet", world="world/truth.parquet", made="qa/made/*.jsonl")),
    output:
        **makes("qa", qa="qa/qa.parquet"),
    log:
        f"{plan.root}/logs/qa.log",
    conda:
        f"{ENVIRONMENTS}/cpu.yaml"
    resources:
        mem_mb=escalated(8000),
        runtime=60,
    params:
        task=task("qa"),
    script:
        MAKE


rule qa_overlap:
    """Find the questions of which an answer is that of a row of tuning, too."""
    input:
        unpack(needs("qa_overlap", qa="qa/qa.parquet")),
    output:
        **makes("qa_overlap", qa_overlap="qa/overlap.parquet"),
    log:
        f"{plan.root}/logs/qa_overlap.log",
    conda:
        f"{ENVIRONMENTS}/cpu.yaml"
    resources:
        mem_mb=escalated(8000),
        runtime=60,
    params:
        task=task("qa_overlap"),
    script:
        MAKE


rule neighbours:
    """Find the pages nearest to each page that has a question."""
    input:
        unpack(
            needs(
                "neighbours",
                documents="corpora/*/documents-*.parquet",
                pages="pages/pages.parquet",
                qa="qa/qa.parquet",
            )
        ),
    output:
        **makes("neighbours", neighbours="pages/neighbours.parquet"),
    log:
        f"{plan.root}/logs/neighbours.log",
    conda:
        f"{ENVIRONMENTS}/cpu.yaml"
    resources:
        mem_mb=escalated(16000),
        runtime=480,
    params:
        task=task("neighbours"),
    script:
        MAKE


if plan.config["removal"]["stated_by"] == "mentions":

    rule page_subjects:
        """Say what is looked for in texts on behalf of the test's questions in a language."""
        input:
            unpack(needs("page_subjects", qa="qa/qa.parquet", pages="pages/pages.parquet")),
        output:
            **makes("page_subjects", subjects="removal/subjects/{lang}.parquet"),
        log:
            f"{plan.root}/logs/page_subjects/{{lang}}.log",
        conda:
            f"{ENVIRONMENTS}/cpu.yaml"
        resources:
            mem_mb=escalated(8000),
            runtime=60,
        params:
            task=task("page_subjects"),
        script:
            MAKE


rule exclusions:
    """Say which pages go at which level, and draw what is read in their place."""
    input:
        unpack(
            needs(
                "exclusions",
                pages="pages/pages.parquet",
                neighbours="pages/neighbours.parquet",
                qa="qa/qa.parquet",
                truth="world/truth.parquet",
                mentions="trace/mentions/*.parquet",
            )
        ),
    output:
        **makes("exclusions", exclusions="pages/exclusions.parquet"),
    log:
        f"{plan.root}/logs/exclusions.log",
    conda:
        f"{ENVIRONMENTS}/cpu.yaml"
    resources:
        mem_mb=escalated(16000),
        runtime=60,
    params:
        task=task("exclusions"),
    script:
        MAKE


rule filter_sizes:
    """Tell what each level has to read, and what it still states."""
    input:
        unpack(
            needs(
                "filter_sizes",
                pages="pages/pages.parquet",
                exclusions="pages/exclusions.parquet",
                qa="qa/qa.parquet",
                truth="world/truth.parquet",
                mentions="trace/mentions/*.parquet",
            )
        ),
    output:
        **makes("filter_sizes", filter_sizes="pages/filter_sizes.parquet"),
    log:
        f"{plan.root}/logs/filter_sizes.log",
    conda:
        f"{ENVIRONMENTS}/cpu.yaml"
    resources:
        mem_mb=escalated(16000),
        runtime=60,
    params:
        task=task("filter_sizes"),
    script:
        MAKE


rule qa_rows:
    """Make rows of tuning of the questions on pages of the split `train`, for a task in one language."""
    input:
        unpack(needs("qa_rows", qa="qa/qa.parquet")),
    output:
        **makes("qa_rows", tuning="qa/rows/{task}/{lang}.parquet"),
    log:
        f"{plan.root}/logs/qa_rows/{{task}}/{{lang}}.log",
    conda:
        f"{ENVIRONMENTS}/cpu.yaml"
    resources:
        mem_mb=escalated(8000),
        runtime=60,
    params:
        task=task("qa_rows"),
    script:
        MAKE


rule qa_answers:
    """Ask all checkpoints of a model questions on pages, and grade what it writes and which options it prefers."""
    input:
        unpack(needs("qa_answers", checkpoints="models/sft/{run}/step*", qa="qa/qa.parquet")),
    output:
        **makes("qa_answers", answers="qa/answers/{run}.parquet", qa_scores="qa/scores/{run}.parquet"),
    log:
        f"{plan.root}/logs/qa_answers/{{run}}.log",
    conda:
        f"{ENVIRONMENTS}/{'judge' if ASKING['engine'] == 'vllm' else 'train'}.yaml"
    threads: HARDWARE["threads"]
    resources:
        gpu=ASKING["gpus"] if ASKING["engine"] == "vllm" else min(1, HARDWARE["gpus"]),
        nodes=1,
        mem_mb=escalated(HARDWARE["memory_mb"]),
        runtime=escalated(720),
    params:
        task=task("qa_answers"),
        work=plan.work,
    shell:
        "lorebridge answer-qa --task {params.task:q} --work {params.work:q} --record {output.record:q}"
        " --rule qa_answers --logfile {log:q} --qa {input.qa:q} --checkpoints {input.checkpoints:q}"
        " --out {output.answers:q} --scores-out {output.qa_scores:q} --threads {threads}"


rule qa_baselines:
    """Say what answers that need no model are worth on questions on pages."""
    input:
        unpack(needs("qa_baselines", qa="qa/qa.parquet")),
    output:
        **makes("qa_baselines", qa_baselines="qa/baselines.parquet"),
    log:
        f"{plan.root}/logs/qa_baselines.log",
    conda:
        f"{ENVIRONMENTS}/cpu.yaml"
    resources:
        mem_mb=escalated(8000),
        runtime=60,
    params:
        task=task("qa_baselines"),
    script:
        MAKE


rule qa_power:
    """Say what questions on pages can show, before any model is trained."""
    input:
        unpack(needs("qa_power", qa="qa/qa.parquet")),
    output:
        **makes("qa_power", qa_power="qa/power.parquet"),
    log:
        f"{plan.root}/logs/qa_power.log",
    conda:
        f"{ENVIRONMENTS}/cpu.yaml"
    resources:
        mem_mb=escalated(8000),
        runtime=60,
    params:
        task=task("qa_power"),
    script:
        MAKE


rule equivalence:
    """Test of every level whether it differs from removing nothing, and whether it does not."""
    input:
        unpack(needs("equivalence", scores="qa/scores/*.parquet", qa="qa/qa.parquet", overlap="qa/overlap.parquet")),
    output:
        **makes("equivalence", equivalence="removal/equivalence.parquet"),
    log:
        f"{plan.root}/logs/equivalence.log",
    conda:
        f"{ENVIRONMENTS}/cpu.yaml"
    resources:
        mem_mb=escalated(8000),
        runtime=60,
    params:
        task=task("equivalence"),
    script:
        MAKE


rule qa_accuracy:
    """Reckon how right the models of each level are, with intervals."""
    input:
        unpack(needs("qa_accuracy", scores="qa/scores/*.parquet", qa="qa/qa.parquet", overlap="qa/overlap.parquet")),
    output:
        **makes("qa_accuracy", qa_accuracy="removal/accuracy.parquet"),
    log:
        f"{plan.root}/logs/qa_accuracy.log",
    conda:
        f"{ENVIRONMENTS}/cpu.yaml"
    resources:
        mem_mb=escalated(8000),
        runtime=60,
    params:
        task=task("qa_accuracy"),
    script:
        MAKE


rule qa_correlation:
    """Say how answers in the two languages go together."""
    input:
        unpack(needs("qa_correlation", scores="qa/scores/*.parquet", qa="qa/qa.parquet")),
    output:
        **makes("qa_correlation", qa_correlation="removal/correlation.parquet"),
    log:
        f"{plan.root}/logs/qa_correlation.log",
    conda:
        f"{ENVIRONMENTS}/cpu.yaml"
    resources:
        mem_mb=escalated(8000),
        runtime=60,
    params:
        task=task("qa_correlation"),
    script:
        MAKE


rule removal_alarms:
    """Read from the study's own tables whether its nulls say anything."""
    input:
        unpack(
            needs(
                "removal_alarms",
                accuracy="removal/accuracy.parquet",
                equivalence="removal/equivalence.parquet",
                baselines="qa/baselines.parquet",
                filter_sizes="pages/filter_sizes.parquet",
            )
        ),
    output:
        **makes("removal_alarms", removal_alarms="removal/alarms.parquet"),
    log:
        f"{plan.root}/logs/removal_alarms.log",
    conda:
        f"{ENVIRONMENTS}/cpu.yaml"
    resources:
        mem_mb=escalated(8000),
        runtime=60,
    params:
        task=task("removal_alarms"),
    script:
        MAKE
