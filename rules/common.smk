# The resolved configuration, the batches, and the functions that the rules use.
#
# A batch job does not declare its images: its identity is the parameter `ids`, the digest of the
# batch's index rows. What Snakemake tracks is the batch's receipt; the results themselves lie in
# the stores, where a failed job's finished images stay.
#
# There can be tens of thousands of batch jobs, so their rules declare nothing that serves nothing:
# the index comes before their inputs anyway, and with `tmpdir=None` they take TMPDIR as it is,
# rather than have it evaluated for each job.

import atexit
import gc
import os
import shlex
from functools import cache
from inspect import signature

from ws3.errors import Ws3Error
from ws3.workflow.plan import Plan, as_text
from snakemake.exceptions import WorkflowError

# Nearly all that Snakemake makes for a job lives to its end; looking for garbage among it all the
# time takes a tenth of a large dry run, and a last look at the end a seventh.
gc.set_threshold(1_000_000, 20, 20)
atexit.register(gc.freeze)

try:
    PLAN = Plan(config, look=workflow.is_main_process)
    PLAN.listing
except Ws3Error as error:
    raise WorkflowError(str(error)) from None

RUN = PLAN.folder
QUEUED = workflow.resource_settings.nodes is not None


# Not jobs: a job's inputs would make all others run again whenever these files change.
onstart:
    if workflow.is_main_process:
        from ws3.stages.index import refresh

        refresh(PLAN.run, PLAN.listing)


wildcard_constraints:
    recipe="[^/]+",
    batch="[^/]+",


def remembered(function):
    # Snakemake looks up a function's parameters several times for each job. Kept with the function,
    # they cost it next to nothing.
    function.__signature__ = signature(function)
    return function


@remembered
def run_folder(wildcards, input):
    return os.path.dirname(os.path.dirname(input.index))


def identity(stage):
    return remembered(lambda wildcards: PLAN.identity(stage, wildcards.batch))


def upstream(stage, source):
    return remembered(
        lambda wildcards: PLAN.upstream(
            stage, wildcards.recipe, wildcards.batch, source
        )
    )


def of_recipe(method):
    return lambda wildcards: method(wildcards.recipe)


def recipe_params(method):
    text = cache(lambda recipe: as_text(method(recipe)))
    return remembered(lambda wildcards: text(wildcards.recipe))


def of_batch(command):
    # The run's folder stands in the text: as a parameter it would be worked out for each job.
    return (
        f"{command} {shlex.quote(RUN)}"
        " --recipe {wildcards.recipe:q} --batch {wildcards.batch:q} > {log} 2>&1"
    )


def growing(amount):
    # A job that ran out of memory or time gets more of it at the next attempt. On one machine it
    # gets what there is, and a plain number spares Snakemake two calls a job.
    return remembered(lambda wildcards, attempt: amount * attempt) if QUEUED else amount


def all_gpus():
    # Without a queue a training gets all GPUs that this machine is said to have.
    here = workflow.global_resources.get("gpu").value
    return PLAN.gpu if QUEUED or here is None else PLAN.gpu * here


def minutes(amount):
    # Only a queue wants to know.
    return growing(amount) if QUEUED else None
