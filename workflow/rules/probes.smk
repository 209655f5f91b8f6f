rule selected_questions:
    """Select the multiple-choice questions that can become clozes."""
    input:
        unpack(needs("selected_questions")),
    output:
        **makes(
            "selected_questions",
            selected="probes/made/{culture}/selected.json",
            selected_audit="probes/made/{culture}/selected.audit.json",
        ),
    log:
        f"{plan.root}/logs/selected_questions/{{culture}}.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        task=task("selected_questions"),
    script:
        "../scripts/make.py"


rule made_questions:
    """Have a language model turn questions into clozes and translate them; write a sheet for people to check."""
    input:
        unpack(needs("made_questions", selected="probes/made/{culture}/selected.json")),
    output:
        **makes(
            "made_questions",
            made="probes/made/{culture}/made.json",
            calls="probes/made/{culture}/calls.jsonl",
            sheet="probes/made/{culture}/sheet.csv",
            page="probes/made/{culture}/page.html",
        ),
    log:
        f"{plan.root}/logs/made_questions/{{culture}}.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=2000,
        runtime=escalated(720),
    params:
        task=task("made_questions"),
        work=plan.work,
    script:
        "../scripts/make.py"


rule question_file:
    """Put a culture's questions in one language in place: fetched, copied, made, or written from facts."""
    input:
        unpack(needs("question_file", world="world/truth.parquet", made="probes/made/{culture}/made.json")),
    output:
        **makes("question_file", questions="probes/files/{culture}-{lang}.json"),
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
        "../scripts/make.py"


rule questions:
    """Check a culture's question files and put them in one table."""
    input:
        unpack(needs("questions", files="probes/files/{culture}-*.json")),
    output:
        **makes("questions", questions="probes/questions/{culture}.parquet"),
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
        "../scripts/make.py"


rule sample_questions:
    """Choose the questions that models are asked by how often the corpora state their facts."""
    input:
        unpack(
            needs(
                "sample_questions",
                questions="probes/questions/{culture}.parquet",
                occurrences="trace/occurrences.parquet",
            )
        ),
    output:
        **makes("sample_questions", questions="probes/sampled/{culture}.parquet"),
    log:
        f"{plan.root}/logs/sample_questions/{{culture}}.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        task=task("sample_questions"),
    script:
        "../scripts/make.py"


rule facts:
    """Read the facts of a data set in all languages of the study, and put them in one table."""
    input:
        unpack(needs("facts", world="world/truth.parquet")),
    output:
        **makes("facts", facts="facts/facts.parquet"),
    log:
        f"{plan.root}/logs/facts.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(8000),
        runtime=60,
    params:
        task=task("facts"),
    script:
        "../scripts/make.py"


rule fact_scores:
    """Ask all checkpoints of a model facts: a masked one by its masks, a causal one with candidates filled in."""
    input:
        unpack(
            needs(
                "fact_scores",
                checkpoints="models/*/{run}/step* | models/given/{run}/model",
                facts="facts/facts.parquet",
            )
        ),
    output:
        **makes("fact_scores", fact_scores="facts/scores/{run}.parquet"),
    log:
        f"{plan.root}/logs/fact_scores/{{run}}.log",
    conda:
        "../../envs/train.yaml"
    threads: HARDWARE["threads"]
    resources:
        gpu=min(1, HARDWARE["gpus"]),
        nodes=1,
        score_tokens=HARDWARE["score_tokens"],
        mem_mb=escalated(16000),
        runtime=escalated(240),
    params:
        task=task("fact_scores"),
        work=plan.work,
    shell:
        "lorebridge ask-facts --task {params.task:q} --record {output.record:q} --rule fact_scores --logfile {log:q}"
        " --checkpoints {input.checkpoints:q} --facts {input.facts:q} --out {output.fact_scores:q}"
        " --batch-tokens {resources.score_tokens} --threads {threads} --work {params.work:q}"


rule fact_rankings:
    """Rank the candidates of every fact by the last checkpoint of a model."""
    input:
        unpack(
            needs(
                "fact_rankings",
                checkpoints="models/*/{run}/step* | models/given/{run}/model",
                facts="facts/facts.parquet",
            )
        ),
    output:
        **makes("fact_rankings", fact_rankings="facts/rankings/{run}.parquet"),
    log:
        f"{plan.root}/logs/fact_rankings/{{run}}.log",
    conda:
        "../../envs/train.yaml"
    threads: HARDWARE["threads"]
    resources:
        gpu=min(1, HARDWARE["gpus"]),
        nodes=1,
        mem_mb=escalated(16000),
        runtime=escalated(240),
    params:
        task=task("fact_rankings"),
    script:
        "../scripts/make.py"


rule neurons:
    """Find the neurons that tell the facts which a model has right from others of their relation."""
    input:
        unpack(
            needs(
                "neurons",
                checkpoints="models/*/{run}/step* | models/given/{run}/model",
                facts="facts/facts.parquet",
                scores="facts/scores/{run}.parquet",
            )
        ),
    output:
        **makes(
            "neurons",
            neurons="facts/neurons/{run}.parquet",
            neuron_bins="facts/neuron_bins/{run}.parquet",
        ),
    log:
        f"{plan.root}/logs/neurons/{{run}}.log",
    conda:
        "../../envs/train.yaml"
    threads: HARDWARE["threads"]
    resources:
        gpu=min(1, HARDWARE["gpus"]),
        nodes=1,
        mem_mb=escalated(16000),
        runtime=escalated(240),
    params:
        task=task("neurons"),
        work=plan.work,
    script:
        "../scripts/make.py"


rule silenced_facts:
    """Ask a model facts in one language while their neurons of another are silenced, and while others are."""
    input:
        unpack(
            needs(
                "silenced_facts",
                checkpoints="models/*/{run}/step* | models/given/{run}/model",
                facts="facts/facts.parquet",
                scores="facts/scores/{run}.parquet",
                neurons="facts/neurons/{run}.parquet",
            )
        ),
    output:
        **makes("silenced_facts", silenced_facts="facts/silenced/{run}.parquet"),
    log:
        f"{plan.root}/logs/silenced_facts/{{run}}.log",
    conda:
        "../../envs/train.yaml"
    threads: HARDWARE["threads"]
    resources:
        gpu=min(1, HARDWARE["gpus"]),
        nodes=1,
        mem_mb=escalated(16000),
        runtime=escalated(480),
    params:
        task=task("silenced_facts"),
        work=plan.work,
    script:
        "../scripts/make.py"


rule score:
    """Ask all checkpoints of a model the questions, and measure it on held-out text and pairs."""
    input:
        unpack(
            needs(
                "score",
                checkpoints="models/*/{run}/step* | models/given/{run}/model",
                questions="probes/questions/*.parquet | probes/sampled/*.parquet",
                heldout="corpora/*/heldout-*.parquet",
                pairs="parallel/*.heldout.parquet",
            )
        ),
    output:
        **makes(
            "score",
            scores="probes/scores/{run}.parquet",
            perplexity="probes/perplexity/{run}.parquet",
            alignment="probes/alignment/{run}.parquet",
        ),
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
        task=task("score"),
        work=plan.work,
    shell:
        "lorebridge probe --task {params.task:q} --record {output.record:q} --rule score --logfile {log:q}"
        " --checkpoints {input.checkpoints:q} --questions {input.questions:q} --heldout {input.heldout:q}"
        " --pairs {input.pairs:q} --out {output.scores:q} --perplexity {output.perplexity:q}"
        " --alignment {output.alignment:q}"
        " --batch-tokens {resources.score_tokens} --threads {threads} --work {params.work:q}"
        " && lorebridge free --checkpoints {input.checkpoints[0]:q} --work {params.work:q}"


rule copying:
    """Measure whether a model copies in context, at all its checkpoints."""
    input:
        unpack(
            needs(
                "copying",
                checkpoints="models/*/{run}/step* | models/given/{run}/model",
                heldout="corpora/*/heldout-*.parquet",
                questions="probes/questions/*.parquet | probes/sampled/*.parquet",
                truth="world/truth.parquet",
            )
        ),
    output:
        **makes("copying", copying="probes/copying/{run}.parquet"),
    log:
        f"{plan.root}/logs/copying/{{run}}.log",
    conda:
        "../../envs/train.yaml"
    threads: HARDWARE["threads"]
    resources:
        gpu=min(1, HARDWARE["gpus"]),
        nodes=1,
        mem_mb=escalated(16000),
        runtime=escalated(60),
    params:
        task=task("copying"),
    script:
        "../scripts/make.py"


rule mechanism:
    """Measure how alike models represent what corresponds in two languages of a planted world."""
    input:
        unpack(
            needs(
                "mechanism",
                checkpoints="models/continual/*/step*",
                questions="probes/questions/{lang}.parquet | probes/sampled/{lang}.parquet",
                truth="world/truth.parquet",
            )
        ),
    output:
        **makes("mechanism", mechanism="probes/mechanism/{lang}.parquet"),
    log:
        f"{plan.root}/logs/mechanism/{{lang}}.log",
    conda:
        "../../envs/train.yaml"
    threads: HARDWARE["threads"]
    resources:
        gpu=min(1, HARDWARE["gpus"]),
        nodes=1,
        mem_mb=escalated(16000),
        runtime=escalated(120),
    params:
        task=task("mechanism"),
    script:
        "../scripts/make.py"


rule random_models:
    """Ask random models of the study's shape the questions, by the published rule and in float32."""
    input:
        unpack(
            needs(
                "random_models",
                questions="probes/questions/*.parquet | probes/sampled/*.parquet",
                tokenizer="tokenizer/tokenizer.json",
            )
        ),
    output:
        **makes("random_models", scorer="probes/scorer.parquet"),
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
        task=task("random_models"),
    shell:
        "lorebridge random-models --task {params.task:q} --record {output.record:q} --rule random_models"
        " --logfile {log:q} --questions {input.questions:q} --tokenizer {input.tokenizer:q} --out {output.scorer:q}"
        " --batch-tokens {resources.score_tokens} --threads {threads}"
