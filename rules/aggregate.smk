# saliency store -> results/<run>/maps/<recipe>.zarr


rule aggregate:
    input:
        index=f"{RUN}/receipts/index.json",
        saliency=upstream("maps", "saliency"),
    output:
        f"{RUN}/receipts/maps/{{recipe}}/{{batch}}.json",
    log:
        f"{RUN}/logs/aggregate/{{recipe}}/{{batch}}.log",
    benchmark:
        f"{RUN}/benchmarks/aggregate/{{recipe}}/{{batch}}.tsv"
    conda:
        "../envs/ws3.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        run=run_folder,
        ids=identity("maps"),
        aggregation=recipe_params(PLAN.maps_params),
    shell:
        "ws3 aggregate {params.run:q} --recipe {wildcards.recipe:q} --batch {wildcards.batch:q}"
        " > {log} 2>&1"
