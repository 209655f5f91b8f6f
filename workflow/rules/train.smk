# A killed or stopped job keeps its state under work/ and the next try resumes to the bit. The command line is short
# and constant: hardware lies in resources, what makes the model in the task.

# One process needs no launcher, and so keeps its own exit status (75: stopped in time, run again to resume). Several in
# one node are started by torchrun; on several nodes the job is one that calls srun itself (which the executor knows by
# the resource `mpi`), and srun, which takes no number of CPUs over from the job, starts a torchrun on each. They meet at
# the node that this shell runs on, at a port of the job's own: two jobs may have the same first node. It lies below the
# ports that Linux gives to connections (32768 and more).
NODES = HARDWARE["nodes"]
PROCESSES = HARDWARE["gpus"] or HARDWARE["processes"]
# torchrun would kill its processes half a minute after SIGTERM, and die of SIGUSR1: they need time to save their state.
PATIENT = "--shutdown-timeout 600 --signals-to-handle SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"
LAUNCH = "python -m"
if PROCESSES > 1:
    LAUNCH = f"torchrun --standalone --nproc-per-node {{resources.processes}} {PATIENT} -m"
# Without a word on nodes SLURM may gather the GPUs of a job from several.
ON_NODES = {"nodes": 1, "gpu": HARDWARE["gpus"]}
if NODES > 1:
    ON_NODES = {"nodes": NODES, "gres": f"gpu:{HARDWARE['gpus']}", "mpi": "srun", "tasks": NODES, "tasks_per_gpu": 0}
    LAUNCH = (
        "srun --jobid $SLURM_JOB_ID --nodes {resources.nodes} --ntasks {resources.nodes} --ntasks-per-node 1"
        " --cpus-per-task {threads} --gpus-per-node {resources.processes} torchrun --nnodes {resources.nodes}"
        f" {PATIENT}"
        " --nproc-per-node {resources.processes} --rdzv-backend c10d --rdzv-id $SLURM_JOB_ID"
        " --rdzv-endpoint $(hostname):$((20000 + SLURM_JOB_ID % 10000)) -m"
    )
# TensorBoard's events hold times, so they are no output: `tensorboard --logdir results/<study>/logs/events`.
TRAIN = (
    f"{LAUNCH} lorebridge.cli train --task {{params.task:q}} --work {{params.work:q}} --record {{output.record:q}}"
    " --logfile {log:q} --order {input.order:q} --stores {input.stores:q} --tokenizer {input.tokenizer:q}"
    " --micro-batch {resources.micro_batch} --wall-minutes {resources.runtime}"
    " --resume-interval {resources.resume_interval} --threads {threads} --events {params.events:q}"
    " --initial {input.start:q} --read-before {input.read_before:q}"
)


# A rule for each phase of training, because the checkpoints of a phase are its own.
for phase in plan.study.phases:

    rule:
        """Train a model; what it starts from, if anything, are the checkpoints of another."""
        name:
            f"train_{phase}"
        input:
            unpack(
                needs(
                    f"train_{phase}",
                    order="order/{run}.parquet",
                    stores="tokens/*/tokens.bin",
                    tokenizer="tokenizer/tokenizer.json | models/given/*/model",
                    start="models/*/*/step* | models/given/*/model",
                    read_before="tokens/*/tokens.bin",
                )
            ),
        output:
            **makes(
                f"train_{phase}",
                checkpoints=f"models/{phase}/{{run}}/step*",
                metrics=f"models/{phase}/{{run}}/metrics.parquet",
            ),
        log:
            f"{plan.root}/logs/train/{{run}}.log",
        # What takes longest begins first, then what it waits for (tokens.smk): the rest fills the gaps that are left.
        priority: 2
        conda:
            "../../envs/train.yaml"
        threads: HARDWARE["threads"]
        resources:
            **ON_NODES,
            processes=PROCESSES,
            micro_batch=HARDWARE["micro_batch"],
            resume_interval=HARDWARE["resume_interval"],
            mem_mb=escalated(HARDWARE["memory_mb"]),
            runtime=escalated(HARDWARE["train_minutes"]),
        params:
            task=task(f"train_{phase}"),
            work=plan.work,
            events=f"{plan.root}/logs/events/{{run}}",
        shell:
            f"{TRAIN} --rule train_{phase}"


rule given_model:
    """Put a model in place that is given: a folder, or a commit of a hub's."""
    input:
        unpack(needs("given_model")),
    output:
        **makes("given_model", checkpoints="models/given/{run}/model"),
    log:
        f"{plan.root}/logs/given_model/{{run}}.log",
    conda:
        "../../envs/train.yaml"
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        task=task("given_model"),
    script:
        "../scripts/make.py"
