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


rule p_at_1:
    """Estimate how often models are right on facts, beside what needs no model."""
    input:
        unpack(needs("p_at_1", scores="facts/scores/*.parquet", facts="facts/facts.parquet")),
    output:
        **makes("p_at_1", p_at_1="facts/p_at_1.parquet"),
    log:
        f"{plan.root}/logs/p_at_1.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(8000),
        runtime=60,
    params:
        task=task("p_at_1"),
    script:
        "../scripts/make.py"


rule correlates:
    """Say what goes with precision on facts over the languages."""
    input:
        unpack(needs("correlates", scores="facts/scores/*.parquet")),
    output:
        **makes("correlates", correlates="facts/correlates.parquet"),
    log:
        f"{plan.root}/logs/correlates.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(4000),
        runtime=20,
    params:
        task=task("correlates"),
    script:
        "../scripts/make.py"


rule fact_transfer:
    """Say what models know of planted facts that the language states, that only another states, that none does."""
    input:
        unpack(
            needs(
                "fact_transfer",
                scores="facts/scores/*.parquet",
                facts="facts/facts.parquet",
                truth="world/truth.parquet",
            )
        ),
    output:
        **makes("fact_transfer", fact_transfer="facts/transfer.parquet"),
    log:
        f"{plan.root}/logs/fact_transfer.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(4000),
        runtime=20,
    params:
        task=task("fact_transfer"),
    script:
        "../scripts/make.py"


rule fact_classes:
    """Say of each fact what may tell its object of its subject's label alone."""
    input:
        unpack(
            needs(
                "fact_classes",
                facts="facts/facts.parquet",
                tokenizer="tokenizer/tokenizer.json | models/given/*/model",
            )
        ),
    output:
        **makes("fact_classes", fact_classes="facts/classes.parquet"),
    log:
        f"{plan.root}/logs/fact_classes.log",
    conda:
        "../../envs/train.yaml"
    resources:
        mem_mb=escalated(4000),
        runtime=30,
    params:
        task=task("fact_classes"),
    script:
        "../scripts/make.py"


rule absent_facts:
    """Count the facts that models have right although text does not hold them, by class."""
    input:
        unpack(
            needs(
                "absent_facts",
                scores="facts/scores/*.parquet",
                facts="facts/facts.parquet",
                origins="facts/origins.parquet",
                truth="world/truth.parquet",
                classes="facts/classes.parquet",
                forms="world/forms.parquet",
            )
        ),
    output:
        **makes("absent_facts", absent_facts="facts/absent.parquet"),
    log:
        f"{plan.root}/logs/absent_facts.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(8000),
        runtime=60,
    params:
        task=task("absent_facts"),
    script:
        "../scripts/make.py"


rule fact_patterns:
    """Say of each fact and pair of languages whether it is independent, shared or transferred."""
    input:
        unpack(
            needs(
                "fact_patterns",
                scores="facts/scores/*.parquet",
                facts="facts/facts.parquet",
                origins="facts/origins.parquet",
                truth="world/truth.parquet",
                neuron_pairs="facts/neuron_pairs.parquet",
            )
        ),
    output:
        **makes("fact_patterns", fact_patterns="facts/patterns.parquet", pattern_shares="facts/pattern_shares.parquet"),
    log:
        f"{plan.root}/logs/fact_patterns.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(16000),
        runtime=240,
    params:
        task=task("fact_patterns"),
    script:
        "../scripts/make.py"


rule rank_consistency:
    """Say how alike models rank the candidates of a fact in two languages, beside what unrelated rankings get."""
    input:
        unpack(
            needs(
                "rank_consistency",
                rankings="facts/rankings/*.parquet",
                facts="facts/facts.parquet",
            )
        ),
    output:
        **makes("rank_consistency", rank_consistency="facts/rank_consistency.parquet"),
    log:
        f"{plan.root}/logs/rank_consistency.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(16000),
        runtime=240,
    params:
        task=task("rank_consistency"),
    script:
        "../scripts/make.py"


rule fact_overlap:
    """Count the facts that models have right in two languages, beside what independent languages would share."""
    input:
        unpack(needs("fact_overlap", scores="facts/scores/*.parquet", facts="facts/facts.parquet")),
    output:
        **makes("fact_overlap", fact_overlap="facts/overlap.parquet"),
    log:
        f"{plan.root}/logs/fact_overlap.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(8000),
        runtime=120,
    params:
        task=task("fact_overlap"),
    script:
        "../scripts/make.py"


rule overlap_distances:
    """Say whether languages that are further apart share fewer facts."""
    input:
        unpack(needs("overlap_distances", fact_overlap="facts/overlap.parquet")),
    output:
        **makes("overlap_distances", overlap_distances="facts/overlap_distances.parquet"),
    log:
        f"{plan.root}/logs/overlap_distances.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(2000),
        runtime=20,
    params:
        task=task("overlap_distances"),
    script:
        "../scripts/make.py"


rule neuron_overlap:
    """Say how much of a fact's neurons two languages share, beside what they share of other facts."""
    input:
        unpack(needs("neuron_overlap", neurons="facts/neurons/*.parquet", facts="facts/facts.parquet")),
    output:
        **makes(
            "neuron_overlap",
            neuron_overlap="facts/neuron_overlap.parquet",
            neuron_pairs="facts/neuron_pairs.parquet",
            neuron_kin="facts/neuron_kin.parquet",
        ),
    log:
        f"{plan.root}/logs/neuron_overlap.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(16000),
        runtime=240,
    params:
        task=task("neuron_overlap"),
    script:
        "../scripts/make.py"


rule ablations:
    """Say what models lose of facts in one language without the facts' neurons of another."""
    input:
        unpack(needs("ablations", silenced_facts="facts/silenced/*.parquet", facts="facts/facts.parquet")),
    output:
        **makes("ablations", ablations="facts/ablations.parquet"),
    log:
        f"{plan.root}/logs/ablations.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(8000),
        runtime=60,
    params:
        task=task("ablations"),
    script:
        "../scripts/make.py"
