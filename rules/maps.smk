# saliency store -> results/<run>/maps/<recipe>.zarr


rule maps:
    input:
        saliency=upstream("maps", "saliency"),
    output:
        f"{RUN}/receipts/maps/{{recipe}}/{{batch}}.json",
    log:
        f"{RUN}/logs/maps/{{recipe}}/{{batch}}.log",
    benchmark:
        f"{RUN}/benchmarks/maps/{{recipe}}/{{batch}}.tsv"
    conda:
        "../envs/ws3.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=minutes(30),
        tmpdir=None,
    params:
        ids=identity("maps"),
        aggregation=recipe_params(PLAN.maps_params),
    shell:
        of_batch("ws3 maps")
