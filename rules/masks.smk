# maps + images -> results/<run>/thresholds/<recipe>.json, masks/<recipe>/<image>.png


rule threshold:
    input:
        index=f"{RUN}/receipts/index.json",
        maps=of_recipe(PLAN.threshold_inputs),
    output:
        f"{RUN}/thresholds/{{recipe}}.json",
    log:
        f"{RUN}/logs/threshold/{{recipe}}.log",
    benchmark:
        f"{RUN}/benchmarks/threshold/{{recipe}}.tsv"
    conda:
        "../envs/ws3.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=minutes(30),
    params:
        run=run_folder,
        background=as_text(PLAN.threshold_params),
    shell:
        "ws3 threshold {params.run:q} --recipe {wildcards.recipe:q} > {log} 2>&1"


rule masks:
    input:
        maps=upstream("masks", "maps"),
        threshold=f"{RUN}/thresholds/{{recipe}}.json",
    output:
        f"{RUN}/receipts/masks/{{recipe}}/{{batch}}.json",
    log:
        f"{RUN}/logs/masks/{{recipe}}/{{batch}}.log",
    benchmark:
        f"{RUN}/benchmarks/masks/{{recipe}}/{{batch}}.tsv"
    conda:
        "../envs/ws3.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=minutes(60),
        tmpdir=None,
    params:
        ids=identity("masks"),
        masks=as_text(PLAN.masks_params),
    shell:
        of_batch("ws3 masks")
