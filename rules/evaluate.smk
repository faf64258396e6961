# maps, masks, predictions + ground truth -> results/<run>/evaluation/<recipe>.json, summary.csv


rule evaluate:
    input:
        index=f"{RUN}/receipts/index.json",
        results=of_recipe(PLAN.evaluation_inputs),
    output:
        f"{RUN}/evaluation/{{recipe}}.json",
    log:
        f"{RUN}/logs/evaluate/{{recipe}}.log",
    benchmark:
        f"{RUN}/benchmarks/evaluate/{{recipe}}.tsv"
    conda:
        "../envs/ws3.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=minutes(60),
    params:
        run=run_folder,
        evaluate=as_text(PLAN.evaluate_params),
    shell:
        "ws3 evaluate {params.run:q} --recipe {wildcards.recipe:q} > {log} 2>&1"


# A second's work: not worth a place in a cluster's queue.
rule summary:
    input:
        index=f"{RUN}/receipts/index.json",
        evaluations=PLAN.evaluations(),
    output:
        f"{RUN}/evaluation/summary.csv",
    log:
        f"{RUN}/logs/summary.log",
    localrule: True
    conda:
        "../envs/ws3.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=minutes(10),
    params:
        run=run_folder,
    shell:
        "ws3 evaluate {params.run:q} --summary > {log} 2>&1"
