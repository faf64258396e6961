# index -> results/<run>/classifier.pt


rule train_classifier:
    input:
        index=f"{RUN}/receipts/index.json",
    output:
        f"{RUN}/receipts/classifier.json",
    log:
        f"{RUN}/logs/train_classifier.log",
    benchmark:
        f"{RUN}/benchmarks/train_classifier.tsv"
    conda:
        "../envs/ws3.yaml"
    threads: PLAN.config.threads
    resources:
        mem_mb=growing(8000),
        runtime=minutes(240),
        gpu=all_gpus(),
    params:
        run=run_folder,
        classifier=as_text(PLAN.classifier_params),
    shell:
        "ws3 train-classifier {params.run:q} > {log} 2>&1"
