# in:  a response of Wikidata's query service, corpora/, parallel/, models/, probes/
# out: people/response.json, people/people.parquet, people/mentions/{stream}.parquet, people/questions/{lang}.parquet,
#      people/scores/{run}.parquet, transfer/people_gaps.parquet

if plan.config["people"] is not None:

    rule people_response:
        input:
            unpack(needs("people_response")),
        output:
            **produces("people_response"),
        log:
            f"{plan.root}/logs/people_response.log",
        conda:
            "../../envs/cpu.yaml"
        resources:
            mem_mb=2000,
            runtime=escalated(120),
        params:
            task=task("people_response"),
            settings=plan.people_settings,
            work=plan.work,
        script:
            "../scripts/people_response.py"

    rule people:
        input:
            unpack(needs("people")),
        output:
            **produces("people"),
        log:
            f"{plan.root}/logs/people.log",
        conda:
            "../../envs/cpu.yaml"
        resources:
            mem_mb=2000,
            runtime=10,
        params:
            task=task("people"),
        script:
            "../scripts/people.py"

    rule people_mentions:
        input:
            unpack(needs("people_mentions")),
        output:
            **produces("people_mentions"),
        log:
            f"{plan.root}/logs/people_mentions/{{stream}}.log",
        conda:
            "../../envs/cpu.yaml"
        threads: HARDWARE["threads"]
        resources:
            mem_mb=escalated(8000),
            runtime=escalated(120),
        params:
            task=task("people_mentions"),
        script:
            "../scripts/people_mentions.py"

    rule people_questions:
        input:
            unpack(needs("people_questions")),
        output:
            **produces("people_questions"),
        log:
            f"{plan.root}/logs/people_questions/{{lang}}.log",
        conda:
            "../../envs/cpu.yaml"
        resources:
            mem_mb=2000,
            runtime=20,
        params:
            task=task("people_questions"),
        script:
            "../scripts/people_questions.py"

    rule people_score:
        input:
            unpack(needs("people_scores")),
        output:
            **produces("people_scores"),
        log:
            f"{plan.root}/logs/people_score/{{run}}.log",
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
            task=task("people_scores"),
            work=plan.work,
        shell:
            "lorebridge probe --task {params.task:q} --record {output.record:q} --rule people_score --logfile {log:q}"
            " --checkpoints {input.checkpoints:q} --questions {input.people_questions:q} --out {output.people_scores:q}"
            " --batch-tokens {resources.score_tokens} --threads {threads} --work {params.work:q}"
            " && lorebridge free --checkpoints {input.checkpoints:q} --work {params.work:q}"

    rule people_gaps:
        input:
            unpack(needs("people_gaps")),
        output:
            **produces("people_gaps"),
        log:
            f"{plan.root}/logs/people_gaps.log",
        conda:
            "../../envs/cpu.yaml"
        resources:
            mem_mb=escalated(8000),
            runtime=30,
        params:
            task=task("people_gaps"),
        script:
            "../scripts/people_gaps.py"
