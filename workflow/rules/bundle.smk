# in:  what the tables and figures are drawn from
# out: {study}.bundle.tar.xz, which workflow/figures.smk redraws them from


rule bundle:
    input:
        unpack(needs("bundle")),
    output:
        **produces("bundle"),
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
