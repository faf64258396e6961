"""From logits to log-odds: how much more a class is than all others together."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LogOdds(nn.Module):
    """From logits (B, outputs) to log-odds (B, classes): each minus the log-sum-exp of all others.

    Explained instead of the logit, it leaves out what speaks for every class alike; the gradient
    is that of "why this class and not another" (Wang and Wang 2022, "Why not other classes?",
    NeurIPS 35). Its sigmoid is the softmax over all outputs.

    Example:
        >>> LogOdds(1, others=1)(torch.tensor([[3.0, 1.0]]))
        tensor([[2.]])
    """

    own: Tensor

    def __init__(self, classes: int, others: int = 0) -> None:
        """Say what the outputs are.

        Args:
            classes: How many outputs are classes: the first ones.
            others: How many are not, such as kinds of background.
        """
        super().__init__()
        own = torch.eye(classes, classes + others, dtype=torch.bool)
        self.register_buffer("own", own, persistent=False)

    def forward(self, logits: Tensor) -> Tensor:
        """Return the log-odds (B, classes)."""
        others = logits.unsqueeze(1).masked_fill(self.own, -torch.inf)
        return logits[:, : len(self.own)] - others.logsumexp(dim=2)
