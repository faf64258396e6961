# images -> results/<run>/regions/all_recipes.zarr


rule regions:
    input:
        index=RULES.receipt("index"),
    output:
        RULES.receipt("regions", "{recipe}", "{batch}"),
    log:
        RULES.log("regions", "{recipe}", "{batch}"),
    benchmark:
        RULES.benchmark("regions", "{recipe}", "{batch}")
    conda:
        "../envs/ws3.yaml"
    threads: 1
    resources:
        mem_mb=RULES.mem_mb("regions"),
        runtime=RULES.runtime("regions"),
        tmpdir=None,
    params:
        batch=RULES.batch_params("regions"),
        settings=RULES.stage_params("regions"),
    shell:
        RULES.shell(
            "ws3 regions {run} --recipe {wildcards.recipe:q} --batch {wildcards.batch:q}"
        )
