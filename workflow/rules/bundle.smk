rule bundle:
    """Pack what a study's tables and figures are drawn from."""
    input:
        unpack(needs("bundle")),
    output:
        **makes("bundle", bundle="../{study}.bundle.tar.xz"),
    log:
        f"{plan.root}/logs/bundle.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=escalated(4000),
        runtime=30,
    params:
        task=task("bundle"),
    script:
        "../scripts/bundle.py"
