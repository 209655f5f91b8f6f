rule accuracies:
    """Reckon the accuracy of every model at every checkpoint, with its interval."""
    input:
        unpack(
            needs(
                "accuracies",
                scores="probes/scores/*.parquet",
                questions="probes/questions/*.parquet | probes/sampled/*.parquet",
            )
        ),
    output:
        **makes("accuracies", accuracies="transfer/accuracies.parquet"),
    log:
        f"{plan.root}/logs/accuracies.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(8000),
        runtime=60,
    params:
        task=task("accuracies"),
    script:
        "../scripts/make.py"


rule gaps:
    """Estimate the gaps between arms and test the asymmetry of the directions."""
    input:
        unpack(
            needs(
                "gaps",
                scores="probes/scores/*.parquet",
                questions="probes/questions/*.parquet | probes/sampled/*.parquet",
                leaks="trace/leaks.parquet",
            )
        ),
    output:
        **makes("gaps", gaps="transfer/gaps.parquet", asymmetry="transfer/asymmetry.parquet"),
    log:
        f"{plan.root}/logs/gaps.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(8000),
        runtime=60,
    params:
        task=task("gaps"),
    script:
        "../scripts/make.py"


rule matched_gaps:
    """Estimate the gaps between arms where they predict held-out text equally well."""
    input:
        unpack(
            needs(
                "matched_gaps",
                scores="probes/scores/*.parquet",
                questions="probes/questions/*.parquet | probes/sampled/*.parquet",
                perplexity="probes/perplexity/*.parquet",
            )
        ),
    output:
        **makes("matched_gaps", matched_gaps="transfer/matched_gaps.parquet"),
    log:
        f"{plan.root}/logs/matched_gaps.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(8000),
        runtime=30,
    params:
        task=task("matched_gaps"),
    script:
        "../scripts/make.py"


rule verdicts:
    """Give a verdict on every test that the study declared, in one family."""
    input:
        unpack(
            needs(
                "verdicts",
                scores="probes/scores/*.parquet",
                questions="probes/questions/*.parquet | probes/sampled/*.parquet",
                leaks="trace/leaks.parquet",
                truth="world/truth.parquet",
            )
        ),
    output:
        **makes("verdicts", verdicts="transfer/verdicts.parquet"),
    log:
        f"{plan.root}/logs/verdicts.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(8000),
        runtime=30,
    params:
        task=task("verdicts"),
    script:
        "../scripts/make.py"


rule items:
    """List every question with whether it was transferred (appendix C.4) and how often the corpora state its fact."""
    input:
        unpack(
            needs(
                "items",
                scores="probes/scores/*.parquet",
                questions="probes/questions/*.parquet | probes/sampled/*.parquet",
                judgments="trace/judgments/*/*.parquet",
                exposure="trace/exposure/*.parquet",
            )
        ),
    output:
        **makes("items", transferred="transfer/items.parquet"),
    log:
        f"{plan.root}/logs/items.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(8000),
        runtime=30,
    params:
        task=task("items"),
    script:
        "../scripts/make.py"


rule item_effects:
    """Estimate what crosses of what is known, guesses taken off, and how that goes with how often a fact was read."""
    input:
        unpack(
            needs(
                "item_effects",
                scores="probes/scores/*.parquet",
                questions="probes/questions/*.parquet | probes/sampled/*.parquet",
                transferred="transfer/items.parquet",
                leaks="trace/leaks.parquet",
            )
        ),
    output:
        **makes("item_effects", item_effects="transfer/item_effects.parquet"),
    log:
        f"{plan.root}/logs/item_effects.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(8000),
        runtime=30,
    params:
        task=task("item_effects"),
    script:
        "../scripts/make.py"
