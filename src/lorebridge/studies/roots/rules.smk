# What the paper prints, computed anew, and what a study has of each language beside it.


rule language_measures:
    """Tell the precision, objects and size of each language, beside what the paper prints."""
    input:
        unpack(needs("language_measures", facts="facts/facts.parquet", scores="facts/scores/*.parquet")),
    output:
        **makes("language_measures", language_measures="facts/language_measures.parquet"),
    log:
        f"{plan.root}/logs/language_measures.log",
    conda:
        f"{ENVIRONMENTS}/cpu.yaml"
    resources:
        mem_mb=escalated(8000),
        runtime=30,
    params:
        task=task("language_measures"),
    script:
        MAKE


if plan.config["published"] is not None:

    rule published:
        """Compute anew what the paper prints, from what it publishes by language and from the facts."""
        input:
            unpack(needs("published", facts="facts/facts.parquet")),
        output:
            **makes("published", published="facts/published.parquet"),
        log:
            f"{plan.root}/logs/published.log",
        conda:
            f"{ENVIRONMENTS}/cpu.yaml"
        resources:
            mem_mb=escalated(8000),
            runtime=30,
        params:
            task=task("published"),
        script:
            MAKE
