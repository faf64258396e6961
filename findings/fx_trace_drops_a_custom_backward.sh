#!/usr/bin/env bash
# torch 2.13.0: torch.fx.symbolic_trace keeps a module's outputs, and silently changes its gradients.
#
# Expected: a traced module computes what the module computes, forward and backward, or the trace fails
# where it can't ("Limitations of Symbolic Tracing" in the documentation of torch.fx lists dynamic
# control flow, functions from outside torch, and a few others, which raise).
# Seen: a module of one's own is traced into, as only modules of torch.nn are leaves. If it calls a
# torch.autograd.Function, the trace runs that function's `forward` on proxies and records the operations
# inside; `backward` is gone. Outputs are equal to the last bit, so a test of outputs passes, while the
# gradients are those of the plain operations. Nothing is said.
# ws3: ws3/attribution/layers.py traces with modules without parts as leaves, as its rectifiers that are
# smooth in the backward pass would become plain ones; a test compares gradients.
#
# Needs Python 3.11 or newer and a package index; takes a minute or two. Ends with 0 while that is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0
cat > "$folder/trace.py" <<'PYTHON'
import sys

import torch
from torch import fx, nn


class Doubled(torch.autograd.Function):
    """The identity, whose gradient is doubled."""

    @staticmethod
    def forward(ctx, inputs):
        return inputs.clone()

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient


class Layer(nn.Module):
    def forward(self, inputs):
        return Doubled.apply(inputs)


def gradient(network):
    inputs = torch.ones(3, requires_grad=True)
    network(inputs).sum().backward()
    return inputs.grad.tolist()


network = nn.Sequential(nn.Identity(), Layer())
traced = fx.symbolic_trace(network)
same = torch.equal(network(torch.ones(3)), traced(torch.ones(3)))
print("torch", torch.__version__)
print("outputs equal:", same)
print("gradient of the module:", gradient(network), "of the traced one:", gradient(traced))
print(traced.graph)
seen = same and gradient(network) == [2, 2, 2] and gradient(traced) == [1, 1, 1]
sys.exit(0 if seen else 1)
PYTHON
"$folder/venv/bin/python" "$folder/trace.py" 2> "$folder/warnings" || { cat "$folder/warnings"; exit 1; }
