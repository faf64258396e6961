# saliency store, files of another program, or images + network -> results/<run>/maps/<recipe>.zarr


rule maps:
    input:
        saliency=RULES.batch_input("maps", "saliency"),
    output:
        RULES.receipt("maps", "{recipe}", "{batch}"),
    log:
        RULES.log("maps", "{recipe}", "{batch}"),
    benchmark:
        RULES.benchmark("maps", "{recipe}", "{batch}")
    conda:
        "../envs/ws3.yaml"
    threads: 1
    resources:
        mem_mb=RULES.mem_mb("maps"),
        runtime=RULES.runtime("maps"),
        gpu=RULES.gpu_of_maps,
        tmpdir=None,
    params:
        batch=RULES.batch_params("maps"),
        settings=RULES.stage_params("maps"),
    shell:
        RULES.shell(
            "ws3 maps {run} --recipe {wildcards.recipe:q} --batch {wildcards.batch:q}"
        )
