if plan.study.planted:

    rule world:
        """Write the planted world in the formats of real sources, and the truth about it."""
        input:
            unpack(needs("world")),
        output:
            **makes(
                "world",
                corpora="world/corpora/*.jsonl.gz",
                parallel="world/parallel/*-*.jsonl.gz",
                cloze="world/questions/*-culture-cloze_*.json",
                facts="world/facts/*.jsonl.gz",
                forms="world/forms.parquet",
                page_questions="world/qa.jsonl",
                truth="world/truth.parquet",
                people_file="world/people.json",
            ),
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
            "../scripts/make.py"
