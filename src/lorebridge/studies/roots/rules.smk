# What the paper prints, computed anew.

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
