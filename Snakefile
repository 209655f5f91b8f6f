# lorebridge: how does cultural knowledge cross between languages while a language model learns the second one?
#
#   snakemake -n                                          the paper at full scale, planned
#   snakemake --cores 2 --configfile config/demo.yaml     the planted world on a laptop
#   snakemake --profile slurm                             the paper on a cluster
#
# A part of a larger workflow: README.md, "As a module".

if not workflow.overwrite_configfiles and workflow.modifier.is_main_snakefile():

    configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/study.smk"
include: "workflow/rules/common.smk"
include: "workflow/rules/world.smk"
include: "workflow/rules/corpora.smk"
include: "workflow/rules/tokens.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/probes.smk"
include: "workflow/rules/trace.smk"
include: "workflow/rules/transfer.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/bundle.smk"


# The rules that are this kind of study's alone.
if KIND_RULES := studies.rules(plan.config["kind"]):

    include: str(KIND_RULES)


rule all:
    default_target: True
    input:
        paths(*plan.targets()),
    localrule: True


rule models:
    input:
        paths(*(model.artifact for model in plan.study.models.values())),
    localrule: True


rule scores:
    input:
        paths(*(artifact("score", run=name) for name in plan.study.models)),
    localrule: True


include: "workflow/rules/former.smk"
