# Questions on people whom only text in the base language tells of (appendix D).

if plan.config["people"] is not None:

    rule people_response:
        """Ask the query service for people, or copy a response from a local file."""
        input:
            unpack(needs("people_response", world="world/people.json")),
        output:
            **makes("people_response", response="people/response.json"),
        log:
            f"{plan.root}/logs/people_response.log",
        conda:
            f"{ENVIRONMENTS}/cpu.yaml"
        resources:
            mem_mb=2000,
            runtime=escalated(120),
        params:
            task=task("people_response"),
            work=plan.work,
        script:
            MAKE

    rule people:
        """Merge the values of a response by person, and draw the people who are asked about."""
        input:
            unpack(needs("people", response="people/response.json")),
        output:
            **makes("people", people="people/people.parquet", people_audit="people/people.audit.json"),
        log:
            f"{plan.root}/logs/people.log",
        conda:
            f"{ENVIRONMENTS}/cpu.yaml"
        resources:
            mem_mb=2000,
            runtime=10,
        params:
            task=task("people"),
        script:
            MAKE

    rule people_mentions:
        """Count the rows of a text that name each person."""
        input:
            unpack(
                needs(
                    "people_mentions",
                    texts="corpora/*/documents-*.parquet | parallel/*.parquet",
                    audits="corpora/*/audit.json",
                    people="people/people.parquet",
                )
            ),
        output:
            **makes("people_mentions", people_mentions="people/mentions/{stream}.parquet"),
        log:
            f"{plan.root}/logs/people_mentions/{{stream}}.log",
        conda:
            f"{ENVIRONMENTS}/cpu.yaml"
        threads: HARDWARE["threads"]
        resources:
            mem_mb=escalated(8000),
            runtime=escalated(120),
        params:
            task=task("people_mentions"),
        script:
            MAKE

    rule people_questions:
        """Write the questions on people in the base language and one other."""
        input:
            unpack(needs("people_questions", people="people/people.parquet", mentions="people/mentions/*.parquet")),
        output:
            **makes("people_questions", people_questions="people/questions/{lang}.parquet"),
        log:
            f"{plan.root}/logs/people_questions/{{lang}}.log",
        conda:
            f"{ENVIRONMENTS}/cpu.yaml"
        resources:
            mem_mb=2000,
            runtime=20,
        params:
            task=task("people_questions"),
        script:
            MAKE

    rule people_score:
        """Ask all checkpoints of a model the questions on people."""
        input:
            unpack(
                needs(
                    "people_score", checkpoints="models/continual/{run}/step*", questions="people/questions/*.parquet"
                )
            ),
        output:
            **makes("people_score", people_scores="people/scores/{run}.parquet"),
        log:
            f"{plan.root}/logs/people_score/{{run}}.log",
        conda:
            f"{ENVIRONMENTS}/train.yaml"
        threads: HARDWARE["threads"]
        resources:
            gpu=min(1, HARDWARE["gpus"]),
            nodes=1,
            score_tokens=HARDWARE["score_tokens"],
            mem_mb=escalated(16000),
            runtime=escalated(240),
        params:
            task=task("people_score"),
            work=plan.work,
        shell:
            "lorebridge probe --task {params.task:q} --record {output.record:q} --rule people_score --logfile {log:q}"
            " --checkpoints {input.checkpoints:q} --questions {input.questions:q} --out {output.people_scores:q}"
            " --batch-tokens {resources.score_tokens} --threads {threads} --work {params.work:q}"
            " && lorebridge free --checkpoints {input.checkpoints[0]:q} --work {params.work:q}"

    rule people_gaps:
        """Estimate the gaps between arms on the questions on people, and compare them with those on culture."""
        input:
            unpack(
                needs(
                    "people_gaps",
                    scores="probes/scores/*.parquet",
                    questions="probes/questions/*.parquet | probes/sampled/*.parquet",
                    people_questions="people/questions/*.parquet",
                    people_scores="people/scores/*.parquet",
                )
            ),
        output:
            **makes("people_gaps", people_gaps="transfer/people_gaps.parquet"),
        log:
            f"{plan.root}/logs/people_gaps.log",
        conda:
            f"{ENVIRONMENTS}/cpu.yaml"
        resources:
            mem_mb=escalated(8000),
            runtime=30,
        params:
            task=task("people_gaps"),
        script:
            MAKE
