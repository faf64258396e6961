# classifier + images -> results/<run>/saliency/<recipe>.zarr


rule saliency:
    input:
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
        runtime=minutes(60),
        gpu=PLAN.gpu,
        tmpdir=None,
    params:
        ids=identity("saliency"),
        recipe=recipe_params(PLAN.saliency_params),
    shell:
        of_batch("ws3 saliency")
