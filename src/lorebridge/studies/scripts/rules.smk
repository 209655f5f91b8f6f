# Judged answers, and what they say of scripts.


rule judged:
    """Read judged answers, and put them in one table."""
    input:
        unpack(needs("judged")),
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
