#!/usr/bin/env bash
# captum 0.9.0 (torch 2.15.0): LRP takes a module's rule away after the first call of `attribute`, and the
# second call of the same object silently goes by other rules.
#
# Expected: "Custom rules for a given layer need to be defined as attribute `module.rule`" (the class's
# documentation); an attribute that the user has set stays, and two equal calls give equal relevance.
# Seen: when a call ends, the attribute `rule` is deleted from every module, those that the user set
# included. The next call finds none, and takes the default of the module's kind: for a layer that has one,
# the relevance is another, and nothing is said. (Where there is no default, a TypeError asks for a rule
# that was given.)
# ws3: ws3/attribution/lrp.py gives all modules their rules before every call; a test calls twice.
#
# Needs Python 3.11 or newer and a package index; takes a minute or two. Ends with 0 while that is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.15.0 captum==0.9.0
cat > "$folder/twice.py" <<'PYTHON'
import sys
from importlib.metadata import version

import torch
from captum.attr import LRP
from captum.attr._utils.lrp_rules import GammaRule
from torch import nn


def relevance(lrp):
    return [round(value, 4) for value in lrp.attribute(inputs, target=0)[0].tolist()]


torch.manual_seed(0)
network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
inputs = torch.rand(1, 4, requires_grad=True)
default = relevance(LRP(network))
network[0].rule = GammaRule(gamma=10.0)
lrp = LRP(network)
first, there = relevance(lrp), hasattr(network[0], "rule")
second = relevance(lrp)
print("captum", version("captum"), "torch", torch.__version__)
print("first call, by the rule that was set:", first)
print("the module still has its rule:", there)
print("second call:                         ", second)
print("what the default rules give:         ", default)
sys.exit(0 if not there and first != second and second == default else 1)
PYTHON
"$folder/venv/bin/python" "$folder/twice.py" 2> "$folder/warnings" || { cat "$folder/warnings"; exit 1; }
