# in:  the section `world` of the configuration
# out: world/ -- a planted bilingual universe in the formats of real sources, and truth.parquet

if plan.planted:

    rule world:
        input:
            unpack(needs("world")),
        output:
            **produces("world"),
        log:
            f"{plan.root}/logs/world.log",
        conda:
            "../../envs/cpu.yaml"
        resources:
            mem_mb=4000,
            runtime=30,
        params:
            task=task("world"),
        script:
            "../scripts/world.py"
