"""What each policy frees, and that the rest does not move."""

import dataclasses

import pytest
import torch

from climax_lite.train import POLICIES, apply_policy, fit

from .worlds import FAST, GRID, RUN, data, forecaster, weights


def free(policy):
    f = forecaster()
    count = apply_policy(f, policy)
    names = {n for n, p in f.named_parameters() if p.requires_grad}
    assert count == sum(p.numel() for p in f.parameters() if p.requires_grad)
    return names


def test_full_is_everything():
    assert free("full") == {n for n, _ in forecaster().named_parameters()}


def test_frozen_keeps_attention_and_mlps_of_the_blocks():
    kept = {n for n, _ in forecaster().named_parameters()} - free("frozen")
    inner = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    assert kept == {f"net.blocks.{i}.{m}.{w}" for i in (0, 1) for m in inner for w in ("weight", "bias")}


def test_head_is_the_head_and_the_damping_times():
    assert free("head") == {"log_tau"} | {f"net.head.{i}.{w}" for i in (0, 2, 4) for w in ("weight", "bias")}


def test_one_policy_after_another():
    f = forecaster()
    apply_policy(f, "head")
    apply_policy(f, "full")
    assert all(p.requires_grad for p in f.parameters())


def test_unknown():
    with pytest.raises(ValueError, match=r"unknown policy 'lora': expected full \(every weight\); frozen"):
        apply_policy(forecaster(), "lora")


@pytest.mark.parametrize("policy", POLICIES)
def test_what_is_frozen_does_not_move(policy, tmp_path):
    f = forecaster()
    apply_policy(f, policy)
    before, may = weights(f), {n for n, p in f.named_parameters() if p.requires_grad}
    o = dataclasses.replace(FAST, steps=8, weight_decay=0.5)
    after = weights(fit(f, data(8, False), o, dataclasses.replace(RUN, out=str(tmp_path)), GRID))
    assert {n for n in before if not torch.equal(before[n], after[n])} == may
