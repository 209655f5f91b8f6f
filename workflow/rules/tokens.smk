rule tokenizer:
    """Train the study's tokenizer on equal bytes of every language, or fetch a released one."""
    input:
        unpack(needs("tokenizer", documents="corpora/*/documents-*.parquet", audits="corpora/*/audit.json")),
    output:
        **makes("tokenizer", tokenizer="tokenizer/tokenizer.json", settings="tokenizer/tokenizer_config.json"),
    log:
        f"{plan.root}/logs/tokenizer.log",
    priority: 1
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(8000),
        runtime=60,
    params:
        task=task("tokenizer"),
    script:
        "../scripts/make.py"


rule token_store:
    """Tokenize one text once, into a memory-mapped store."""
    input:
        unpack(
            needs(
                "token_store",
                tables="corpora/*/documents-*.parquet | parallel/*.parquet | tuning/*/*.parquet | qa/rows/*/*.parquet",
                audits="corpora/*/audit.json",
                tokenizer="tokenizer/tokenizer.json | models/given/*/model",
            )
        ),
    output:
        **makes(
            "token_store",
            tokens="tokens/{stream}/tokens.bin",
            offsets="tokens/{stream}/offsets.npy",
            store="tokens/{stream}/store.json",
        ),
    log:
        f"{plan.root}/logs/token_store/{{stream}}.log",
    priority: 1
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(8000),
        runtime=escalated(360),
    params:
        task=task("token_store"),
    script:
        "../scripts/make.py"


rule order:
    """Draw the data order of a model: which piece of text stands where in the rows that it reads."""
    input:
        unpack(
            needs(
                "order",
                stores="tokens/*/tokens.bin",
                pairs="parallel/*.parquet",
                mentions="trace/mentions/*.parquet",
                pages="pages/pages.parquet",
                exclusions="pages/exclusions.parquet",
                tokenizer="tokenizer/tokenizer.json | models/given/*/model",
            )
        ),
    output:
        **makes("order", order="order/{run}.parquet"),
    log:
        f"{plan.root}/logs/order/{{run}}.log",
    priority: 1
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(16000),
        runtime=escalated(120),
    params:
        task=task("order"),
    script:
        "../scripts/make.py"
