"""What a fine-tuning run is allowed to change."""

from __future__ import annotations

from ..forecaster import Forecaster

POLICIES = {
    "full": "every weight",
    # The paper's choice for climate projection.
    "frozen": "all but attention and MLPs of the blocks: norms, embeddings, tokens, aggregation, head and damping times",
    "head": "the head and the damping times alone",
}


def apply_policy(forecaster: Forecaster, policy: str) -> int:
    """Set `requires_grad` of every parameter; returns how many numbers are free.

    Raises:
        ValueError: for an unknown policy.
    """
    if policy not in POLICIES:
        raise ValueError(
            f"unknown policy {policy!r}: expected " + "; ".join(f"{name} ({what})" for name, what in POLICIES.items())
        )
    for name, parameter in forecaster.named_parameters():
        if policy == "frozen":
            parameter.requires_grad = not (name.startswith("net.blocks.") and (".attn." in name or ".mlp." in name))
        else:
            parameter.requires_grad = policy == "full" or name.startswith("net.head.") or name == "log_tau"
    return sum(p.numel() for p in forecaster.parameters() if p.requires_grad)
