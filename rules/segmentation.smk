# masks/<recipe>, or ground truth -> results/<run>/segmentation/<recipe>/model.pt, predictions/<image>.png


rule train_segmentation:
    input:
        index=f"{RUN}/receipts/index.json",
        masks=of_recipe(PLAN.training_masks),
    output:
        f"{RUN}/receipts/segmentation/{{recipe}}.json",
    log:
        f"{RUN}/logs/train_segmentation/{{recipe}}.log",
    benchmark:
        f"{RUN}/benchmarks/train_segmentation/{{recipe}}.tsv"
    conda:
        "../envs/ws3.yaml"
    threads: PLAN.config.threads
    resources:
        mem_mb=growing(16000),
        runtime=minutes(720),
        gpu=all_gpus(),
    params:
        run=run_folder,
        segmentation=recipe_params(PLAN.segmenter_params),
    shell:
        "ws3 train-segmentation {params.run:q} --recipe {wildcards.recipe:q} > {log} 2>&1"


rule predictions:
    input:
        model=f"{RUN}/receipts/segmentation/{{recipe}}.json",
    output:
        f"{RUN}/receipts/predictions/{{recipe}}/{{batch}}.json",
    log:
        f"{RUN}/logs/predictions/{{recipe}}/{{batch}}.log",
    benchmark:
        f"{RUN}/benchmarks/predictions/{{recipe}}/{{batch}}.tsv"
    conda:
        "../envs/ws3.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=minutes(60),
        gpu=PLAN.gpu,
        tmpdir=None,
    params:
        ids=identity("predictions"),
        predict=as_text(PLAN.predict_params),
    shell:
        of_batch("ws3 predictions")
