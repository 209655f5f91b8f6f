# in:  order/{run}.parquet, tokens/{stream}/, tokenizer/, models/base/s{seed}/ for continual pretraining
# out: models/base/s{seed}/step{step}/, models/{lang}/{arm}/s{seed}/step{step}/, metrics.parquet beside them
#
# A killed or stopped job keeps its state under work/ and the next try resumes to the bit. The command line is short
# and constant: hardware lies in resources, what makes the model in the task.

# One process needs no launcher, and so keeps its own exit status (75: stopped in time, run again to resume).
PROCESSES = HARDWARE["gpus"] or HARDWARE["processes"]
LAUNCH = "torchrun --standalone --nproc-per-node {resources.processes}" if PROCESSES > 1 else "python"
TRAIN = (
    f"{LAUNCH} -m lorebridge.cli train --task {{params.task:q}} --work {{params.work:q}} --record {{output.record:q}}"
    " --logfile {log:q} --order {input.order:q} --stores {input.tokens:q} --tokenizer {input.tokenizer:q}"
    " --micro-batch {resources.micro_batch} --wall-minutes {resources.runtime}"
    " --resume-interval {resources.resume_interval} --threads {threads}"
)


rule train_base:
    input:
        unpack(needs("base_model")),
    output:
        **produces("base_model"),
    log:
        f"{plan.root}/logs/train/base-s{{seed}}.log",
    conda:
        "../../envs/train.yaml"
    threads: HARDWARE["threads"]
    resources:
        gpu=HARDWARE["gpus"],
        processes=PROCESSES,
        micro_batch=HARDWARE["micro_batch"],
        resume_interval=HARDWARE["resume_interval"],
        mem_mb=escalated(HARDWARE["memory_mb"]),
        runtime=escalated(HARDWARE["train_minutes"]),
    params:
        task=task("base_model"),
        work=plan.work,
    shell:
        f"{TRAIN} --rule train_base"


rule train:
    input:
        unpack(needs("model")),
    output:
        **produces("model"),
    log:
        f"{plan.root}/logs/train/{{lang}}-{{arm}}-s{{seed}}.log",
    conda:
        "../../envs/train.yaml"
    threads: HARDWARE["threads"]
    resources:
        gpu=HARDWARE["gpus"],
        processes=PROCESSES,
        micro_batch=HARDWARE["micro_batch"],
        resume_interval=HARDWARE["resume_interval"],
        mem_mb=escalated(HARDWARE["memory_mb"]),
        runtime=escalated(HARDWARE["train_minutes"]),
    params:
        task=task("model"),
        work=plan.work,
    shell:
        f"{TRAIN} --rule train --base {{input.checkpoints:q}}"
