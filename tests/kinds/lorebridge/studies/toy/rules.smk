rule counts:
    """Count the right answers of every model at every checkpoint."""
    input:
        unpack(needs("counts", scores="probes/scores/*.parquet", questions="probes/questions/*.parquet")),
    output:
        **makes("counts", counts="toy/counts/{subset}.parquet"),
    log:
        f"{plan.root}/logs/counts/{{subset}}.log",
    conda:
        f"{ENVIRONMENTS}/cpu.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        task=task("counts"),
    script:
        MAKE
