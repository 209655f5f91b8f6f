# A source is read twice, because a document may repeat one of another shard: first it is signed, then filtered. The
# sources themselves (hub data sets, local files, texts of the planted world) come beside what the rules show.


rule signatures:
    """Sign the documents of one shard, so that those which repeat others are found across shards."""
    input:
        unpack(needs("signatures", world="world/truth.parquet")),
    output:
        **makes("signatures", signatures="corpora/{lang}/signatures-{shard}.parquet"),
    log:
        f"{plan.root}/logs/signatures/{{lang}}-{{shard}}.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(4000),
        runtime=escalated(240),
    params:
        task=task("signatures"),
    script:
        "../scripts/make.py"


rule duplicates:
    """Find the documents of a corpus that repeat an earlier one."""
    input:
        unpack(needs("duplicates", signatures="corpora/{lang}/signatures-*.parquet")),
    output:
        **makes("duplicates", duplicates="corpora/{lang}/duplicates.parquet"),
    log:
        f"{plan.root}/logs/duplicates/{{lang}}.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(16000),
        runtime=escalated(120),
    params:
        task=task("duplicates"),
    script:
        "../scripts/make.py"


rule filter_corpus:
    """Filter one shard of a monolingual corpus, and hold some of its documents out."""
    input:
        unpack(needs("filter_corpus", duplicates="corpora/{lang}/duplicates.parquet", world="world/truth.parquet")),
    output:
        **makes(
            "filter_corpus",
            documents="corpora/{lang}/documents-{shard}.parquet",
            heldout_documents="corpora/{lang}/heldout-{shard}.parquet",
            shard_audit="corpora/{lang}/documents-{shard}.audit.json",
        ),
    log:
        f"{plan.root}/logs/filter_corpus/{{lang}}-{{shard}}.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(4000),
        runtime=escalated(240),
    params:
        task=task("filter_corpus"),
    script:
        "../scripts/make.py"


rule audit_corpus:
    """Merge the audits of a corpus's shards; an empty corpus stops here."""
    input:
        unpack(needs("audit_corpus", audits="corpora/{lang}/documents-*.audit.json")),
    output:
        **makes("audit_corpus", audit="corpora/{lang}/audit.json"),
    log:
        f"{plan.root}/logs/audit_corpus/{{lang}}.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        task=task("audit_corpus"),
    script:
        "../scripts/make.py"


rule filter_pairs:
    """Filter the sentence pairs of a language, and hold some of them out."""
    input:
        unpack(needs("filter_pairs", world="world/truth.parquet")),
    output:
        **makes(
            "filter_pairs",
            pairs="parallel/{lang}.parquet",
            heldout_pairs="parallel/{lang}.heldout.parquet",
            pairs_audit="parallel/{lang}.audit.json",
        ),
    log:
        f"{plan.root}/logs/filter_pairs/{{lang}}.log",
    conda:
        "../../envs/cpu.yaml"
    threads: 2  # one reads ahead
    resources:
        mem_mb=escalated(8000),
        runtime=escalated(240),
    params:
        task=task("filter_pairs"),
    script:
        "../scripts/make.py"


if plan.config.get("tuning"):

    rule tuning_rows:
        """Read the prompts and answers of a tuning in one language."""
        input:
            unpack(needs("tuning_rows")),
        output:
            **makes("tuning_rows", tuning="tuning/{tuning}/{lang}.parquet"),
        log:
            f"{plan.root}/logs/tuning_rows/{{tuning}}-{{lang}}.log",
        conda:
            "../../envs/cpu.yaml"
        resources:
            mem_mb=escalated(4000),
            runtime=30,
        params:
            task=task("tuning_rows"),
        script:
            "../scripts/make.py"

    rule transliteration:
        """Make rows of tuning that reason about spellings in other letters, their controls, and questions held out."""
        input:
            unpack(needs("transliteration")),
        output:
            **makes(
                "transliteration",
                reasoned="tuning/transliteration/reasoned.parquet",
                answers="tuning/transliteration/answers.parquet",
                unrelated="tuning/transliteration/unrelated.parquet",
                heldout="tuning/transliteration/heldout.parquet",
                audit="tuning/transliteration/audit.parquet",
            ),
        log:
            f"{plan.root}/logs/transliteration.log",
        conda:
            "../../envs/cpu.yaml"
        resources:
            mem_mb=escalated(4000),
            runtime=30,
        params:
            task=task("transliteration"),
        script:
            "../scripts/make.py"
