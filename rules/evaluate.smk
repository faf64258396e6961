# maps, masks, predictions + ground truth
# -> results/<run>/evaluation/<recipe>.json, <recipe>.images.csv, summary.csv


rule evaluate:
    input:
        index=RULES.receipt("index"),
        results=RULES.of_recipe(Plan.evaluate_input),
    output:
        RULES.run.evaluation_file("{recipe}"),
        RULES.run.image_counts_file("{recipe}"),
    log:
        RULES.log("evaluate", "{recipe}"),
    benchmark:
        RULES.benchmark("evaluate", "{recipe}")
    conda:
        "../envs/ws3.yaml"
    threads: 1
    resources:
        mem_mb=RULES.mem_mb("evaluate"),
        runtime=RULES.runtime("evaluate"),
    params:
        settings=RULES.of_run(lambda plan: plan.evaluate_params),
    shell:
        RULES.shell("ws3 evaluate {run} --recipe {wildcards.recipe:q}")


# A second's work: not worth a place in a cluster's queue.
rule summary:
    input:
        index=RULES.receipt("index"),
        evaluations=RULES.of_run(Plan.evaluations),
    output:
        report(
            RULES.run.summary_file,
            caption="../workflow/report/summary.rst",
            category="Scores",
            labels=RULES.labels(table="all recipes"),
        ),
    log:
        RULES.log("summary"),
    localrule: True
    conda:
        "../envs/ws3.yaml"
    threads: 1
    resources:
        mem_mb=RULES.mem_mb("summary"),
        runtime=RULES.runtime("summary"),
    shell:
        RULES.shell("ws3 evaluate {run} --summary")
