# Judged answers, and what they say of scripts.


rule judged:
    """Read judged answers, and put them in one table."""
    input:
        unpack(needs("judged", grades="scripts/grades.parquet")),
    output:
        **makes("judged", judged="scripts/judged.parquet"),
    log:
        f"{plan.root}/logs/judged.log",
    conda:
        f"{ENVIRONMENTS}/cpu.yaml"
    resources:
        mem_mb=escalated(8000),
        runtime=30,
    params:
        task=task("judged"),
    script:
        MAKE


rule script_effects:
    """Estimate the effects of one script and of one family on what crosses, and say what they rest on."""
    input:
        unpack(needs("script_effects", judged="scripts/judged.parquet")),
    output:
        **makes(
            "script_effects",
            script_effects="scripts/effects.parquet",
            script_influence="scripts/influence.parquet",
            script_predictors="scripts/predictors.parquet",
        ),
    log:
        f"{plan.root}/logs/script_effects.log",
    conda:
        f"{ENVIRONMENTS}/cpu.yaml"
    resources:
        mem_mb=escalated(8000),
        runtime=240,
    params:
        task=task("script_effects"),
    script:
        MAKE


if plan.config["sets"]:

    rule open_questions:
        """Read a set of open questions in its languages, and put it in one table."""
        input:
            unpack(needs("open_questions")),
        output:
            **makes("open_questions", open_questions="scripts/questions/{dataset}.parquet"),
        log:
            f"{plan.root}/logs/open_questions/{{dataset}}.log",
        conda:
            f"{ENVIRONMENTS}/cpu.yaml"
        resources:
            mem_mb=escalated(4000),
            runtime=20,
        params:
            task=task("open_questions"),
        script:
            MAKE

    rule script_power:
        """Say what effect of one script sets of questions can show, before any model is asked."""
        input:
            unpack(needs("script_power", questions="scripts/questions/*.parquet")),
        output:
            **makes("script_power", script_power="scripts/power.parquet"),
        log:
            f"{plan.root}/logs/script_power.log",
        conda:
            f"{ENVIRONMENTS}/cpu.yaml"
        resources:
            mem_mb=escalated(4000),
            runtime=20,
        params:
            task=task("script_power"),
        script:
            MAKE


if plan.config["answering"] is not None:

    ANSWERING = plan.config["answering"]

    rule answers:
        """Ask a model the questions of all sets."""
        input:
            unpack(
                needs(
                    "answers",
                    questions="scripts/questions/*.parquet",
                    checkpoints="models/given/{run}/model | models/sft/{run}/step*",
                    hints="scripts/hints.parquet",
                )
            ),
        output:
            **makes("answers", answers="scripts/answers/{run}.parquet"),
        log:
            f"{plan.root}/logs/answers/{{run}}.log",
        conda:
            f"{ENVIRONMENTS}/{'judge' if ANSWERING['engine'] == 'vllm' else 'train'}.yaml"
        threads: HARDWARE["threads"]
        resources:
            gpu=lambda wildcards: (
                0
                if wildcards.run in plan.config["served"]
                else ANSWERING["gpus"] if ANSWERING["engine"] == "vllm" else min(1, HARDWARE["gpus"])
            ),
            nodes=1,
            score_tokens=HARDWARE["score_tokens"],
            mem_mb=escalated(HARDWARE["memory_mb"]),
            runtime=escalated(720),
        params:
            task=task("answers"),
            work=plan.work,
        shell:
            "lorebridge answer --task {params.task:q} --work {params.work:q} --record {output.record:q} --rule answers"
            " --logfile {log:q} --questions {input.questions:q} --checkpoints {input.checkpoints:q}"
            " --hints {input.hints:q}"
            " --out {output.answers:q} --batch-tokens {resources.score_tokens} --threads {threads}"

    if plan.config["hints"] is not None:

        rule entities:
            """Find what questions name, and write a sheet for people to check."""
            input:
                unpack(needs("entities", questions="scripts/questions/*.parquet")),
            output:
                **makes("entities", entities="scripts/entities.parquet", sheet="scripts/entities.csv"),
            log:
                f"{plan.root}/logs/entities.log",
            conda:
                f"{ENVIRONMENTS}/{'judge' if (plan.config['hints']['model'] or {}).get('kind') == 'vllm' else 'cpu'}.yaml"
            resources:
                gpu=(plan.config["hints"]["model"] or {}).get("gpus", 0),
                nodes=1,
                mem_mb=escalated(HARDWARE["memory_mb"]),
                runtime=escalated(240),
            params:
                task=task("entities"),
                work=plan.work,
            shell:
                "lorebridge find-entities --task {params.task:q} --work {params.work:q} --record {output.record:q}"
                " --rule entities --logfile {log:q} --questions {input.questions:q} --out {output.entities:q}"
                " --sheet-out {output.sheet:q}"

        rule hints:
            """Say what is told beside questions that are asked in another language than their own."""
            input:
                unpack(needs("hints", questions="scripts/questions/*.parquet", entities="scripts/entities.parquet")),
            output:
                **makes("hints", hints="scripts/hints.parquet"),
            log:
                f"{plan.root}/logs/hints.log",
            conda:
                f"{ENVIRONMENTS}/cpu.yaml"
            resources:
                mem_mb=escalated(4000),
                runtime=60,
            params:
                task=task("hints"),
            script:
                MAKE

        rule hint_effects:
            """Estimate by how much hints help more where a question is asked in another script."""
            input:
                unpack(needs("hint_effects", judged="scripts/judged.parquet")),
            output:
                **makes("hint_effects", hint_effects="scripts/hint_effects.parquet"),
            log:
                f"{plan.root}/logs/hint_effects.log",
            conda:
                f"{ENVIRONMENTS}/cpu.yaml"
            resources:
                mem_mb=escalated(8000),
                runtime=120,
            params:
                task=task("hint_effects"),
            script:
                MAKE

    GRADER = "judge" if (plan.config["grading"]["model"] or {}).get("kind") == "vllm" else "cpu"

    rule grades:
        """Judge the answers of all models: by their letters, and by a language model."""
        input:
            unpack(needs("grades", answers="scripts/answers/*.parquet", questions="scripts/questions/*.parquet")),
        output:
            **makes("grades", grades="scripts/grades.parquet"),
        log:
            f"{plan.root}/logs/grades.log",
        conda:
            f"{ENVIRONMENTS}/{GRADER}.yaml"
        resources:
            gpu=(plan.config["grading"]["model"] or {}).get("gpus", 0),
            nodes=1,
            mem_mb=escalated(HARDWARE["memory_mb"]),
            runtime=escalated(720),
        params:
            task=task("grades"),
            work=plan.work,
        shell:
            "lorebridge grade-answers --task {params.task:q} --work {params.work:q} --record {output.record:q}"
            " --rule grades --logfile {log:q} --answers {input.answers:q} --questions {input.questions:q}"
            " --out {output.grades:q}"

    # What is tuned is judged apart, so that the headline is of models as they are.
    if plan.config["tuning"]:

        rule tuned_grades:
            """Judge the answers of all models that are tuned, after each epoch, as the others."""
            input:
                unpack(
                    needs("tuned_grades", answers="scripts/answers/*.parquet", questions="scripts/questions/*.parquet")
                ),
            output:
                **makes("tuned_grades", grades="scripts/tuned_grades.parquet"),
            log:
                f"{plan.root}/logs/tuned_grades.log",
            conda:
                f"{ENVIRONMENTS}/{GRADER}.yaml"
            resources:
                gpu=(plan.config["grading"]["model"] or {}).get("gpus", 0),
                nodes=1,
                mem_mb=escalated(HARDWARE["memory_mb"]),
                runtime=escalated(720),
            params:
                task=task("tuned_grades"),
                work=plan.work,
            shell:
                "lorebridge grade-answers --task {params.task:q} --work {params.work:q} --record {output.record:q}"
                " --rule tuned_grades --logfile {log:q} --answers {input.answers:q} --questions {input.questions:q}"
                " --out {output.grades:q}"


if plan.config["tuning"]:

    rule tuned_judged:
        """Read judged answers of models before and after they were tuned, and put them in one table."""
        input:
            unpack(
                needs("tuned_judged", grades="scripts/grades.parquet | scripts/tuned_grades.parquet"),
            ),
        output:
            **makes("tuned_judged", judged="scripts/tuned.parquet"),
        log:
            f"{plan.root}/logs/tuned_judged.log",
        conda:
            f"{ENVIRONMENTS}/cpu.yaml"
        resources:
            mem_mb=escalated(4000),
            runtime=30,
        params:
            task=task("tuned_judged"),
        script:
            MAKE

    rule tuning_effects:
        """Estimate by how much tuning narrows the gap between answers in one script and in another."""
        input:
            unpack(
                needs(
                    "tuning_effects",
                    judged="scripts/tuned.parquet",
                    questions="tuning/transliteration/heldout.parquet",
                )
            ),
        output:
            **makes("tuning_effects", tuning_effects="scripts/tuning_effects.parquet"),
        log:
            f"{plan.root}/logs/tuning_effects.log",
        conda:
            f"{ENVIRONMENTS}/cpu.yaml"
        resources:
            mem_mb=escalated(4000),
            runtime=30,
        params:
            task=task("tuning_effects"),
        script:
            MAKE
