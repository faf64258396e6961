# classifier + images -> results/<run>/saliency/<recipe>.zarr


rule saliency:
    input:
        index=f"{RUN}/receipts/index.json",
        classifier=f"{RUN}/receipts/classifier.json",
    output:
        f"{RUN}/receipts/saliency/{{recipe}}/{{batch}}.json",
    log:
        f"{RUN}/logs/saliency/{{recipe}}/{{batch}}.log",
    benchmark:
        f"{RUN}/benchmarks/saliency/{{recipe}}/{{batch}}.tsv"
    conda:
        "../envs/ws3.yaml"
    threads: 1
    resources:
        mem_mb=growing(8000),
        runtime=growing(60),
        gpu=PLAN.gpu,
    params:
        run=run_folder,
        ids=identity("saliency"),
        recipe=recipe_params(PLAN.saliency_params),
    shell:
        "ws3 saliency {params.run:q} --recipe {wildcards.recipe:q} --batch {wildcards.batch:q}"
        " > {log} 2>&1"
