"""The checkers of *ClimaX assembled*: solutions pass, and every usual mistake gets its own sentence."""

from collections import Counter

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from climax_lite.check import climax_assembled as check
from climax_lite.model import ClimaX, ClimaXConfig, patchify
from tests.check.exercises import Exercises


def assembled(net, x, lead, ids, out, *, unit=100, place=True, when=True, norm=True, order=slice(None), late=False):
    tokens = net.aggregation(net.tokenizer(patchify(x, net.config.patch_size), ids))
    added = place * net.pos_embed + when * net.lead_time_embed(lead[:, None] / unit)[:, None]
    tokens = tokens if late else tokens + added
    for block in list(net.blocks)[order]:
        tokens = block(tokens)
    tokens = tokens + added if late else tokens
    return net.head(net.norm(tokens) if norm else tokens, out, net.config.patches)


def places_late(net, x, lead, ids, out):
    tokens = net.aggregation(net.tokenizer(patchify(x, net.config.patch_size), ids))
    tokens = tokens + net.lead_time_embed(lead[:, None] / 100)[:, None]
    for block in net.blocks:
        tokens = block(tokens)
    return net.head(net.norm(tokens + net.pos_embed), out, net.config.patches)


def turned(net, x, lead, ids, out):
    tokens = net.norm(assembled_tokens(net, x, lead, ids))
    return net.head(tokens, out, net.config.patches[::-1])


def assembled_tokens(net, x, lead, ids):
    tokens = net.aggregation(net.tokenizer(patchify(x, net.config.patch_size), ids))
    tokens = tokens + net.pos_embed + net.lead_time_embed(lead[:, None] / 100)[:, None]
    for block in net.blocks:
        tokens = block(tokens)
    return tokens


def parameters(config):
    k, d, pixels = len(config.variables), config.embed_dim, config.patch_size**2
    return {
        "tokenizer": k * d * (pixels + 2),
        "aggregation": d + 4 * (d**2 + d),
        "pos_embed": config.patches[0] * config.patches[1] * d,
        "lead_time_embed": 2 * d,
        "blocks": config.depth * (12 * d**2 + 13 * d),
        "norm": 2 * d,
        "head": 2 * (d**2 + d) + k * pixels * (d + 1),
    }


def flops(config, v, out):
    d, pixels, places = config.embed_dim, config.patch_size**2, config.patches[0] * config.patches[1]
    return {
        "tokenizer": 2 * places * v * pixels * d,
        "aggregation": places * (4 * v * d**2 + 4 * v * d + 2 * d**2) + 2 * d**2,
        "blocks": config.depth * (24 * places * d**2 + 4 * places**2 * d),
        "head": places * (4 * d**2 + 2 * d * out * pixels),
    }


def memory(parameters, patches, width, depth, v, batch):
    kept = batch * patches * width * (4 * v + 16 * depth)
    return {
        "parameters": 4 * parameters,
        "gradients": 4 * parameters,
        "optimizer": 8 * parameters,
        "activations": 4 * kept,
    }


def changed(function, part, change):
    """The function, with one entry of its answer changed: change(value, *arguments)."""

    def other(*args):
        answer = function(*args)
        return {**answer, part: change(answer[part], *args)}

    return other


def parameters_but(part, change):
    return changed(parameters, part, lambda n, c: change(n, c.embed_dim, c))


def flops_but(part, change):
    return changed(flops, part, lambda n, c, v, out: change(n, c.patches[0] * c.patches[1], c.embed_dim, c, v, out))


def translate(state, old=True, prefix="net.", number=int, squeeze=True, flat=True):
    first_words = {"var_embed": "tokenizer.embedding", "var_query": "aggregation.query", "var_agg": "aggregation"}
    ours, tokens = {}, {"weight": {}, "bias": {}}
    for key, tensor in state.items():
        first, dot, rest = key.removeprefix(prefix).partition(".")
        first = first.replace("channel_", "var_") if old else first
        if first == "token_embeds":
            i, _, kind = rest.split(".")
            tokens[kind][number(i)] = tensor
        else:
            ours[first_words.get(first, first) + dot + rest] = tensor
    for kind, found in tokens.items():
        rows = torch.stack([found[i] for i in sorted(found)])
        ours[f"tokenizer.{kind}"] = rows.flatten(2) if kind == "weight" and flat else rows
    if squeeze and "tokenizer.embedding" in ours:
        ours["tokenizer.embedding"] = ours["tokenizer.embedding"][0]
        ours["aggregation.query"] = ours["aggregation.query"][0, 0]
    return ours


def as_they_come(state):
    ours = translate(state)
    return {**ours, **{k: ours[k].flip(0) for k in ("tokenizer.weight", "tokenizer.bias")}}


def emptied(state):
    ours = translate(state)
    state.clear()
    return ours


def prefixed_only(state):
    return translate(state) if any(k.startswith("net.") for k in state) else {}


def dropped_without_prefix(state):
    return translate({k: v for k, v in state.items() if k.startswith("net.")})


def unstacked(state):
    return {k: v for k, v in translate(state).items() if not k.startswith("tokenizer.w")}


def report(expected, state, same=lambda a, b: a.shape == b.shape):
    both = expected.keys() & state.keys()
    wrong = sorted(k for k in both if not same(expected[k], state[k]))
    return sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys()), wrong


def memory_but(part, change):
    return changed(memory, part, lambda n, p, places, d, depth, v, b: change(n, 4 * places * d, p, depth, v, b))


SOLUTIONS = {
    "forward": assembled,
    "count_parameters": parameters,
    "count_flops": flops,
    "translate": translate,
    "key_report": report,
    "training_bytes": memory,
}

WRONG = [
    # exercise, wrong answer, a part of the message
    ("forward", lambda *a: assembled(*a, unit=1), "in units of 100 hours"),
    ("forward", lambda *a: assembled(*a, place=False), "positions are missing"),
    ("forward", lambda *a: assembled(*a, when=False), "lead time is missing"),
    ("forward", lambda *a: assembled(*a, when=False, place=False), "both missing"),
    ("forward", lambda *a: assembled(*a, norm=False), "last norm"),
    ("forward", lambda *a: assembled(*a, order=slice(0)), "no blocks"),
    ("forward", lambda *a: assembled(*a, order=slice(1)), "one of the blocks"),
    ("forward", lambda *a: assembled(*a, order=slice(None, None, -1)), "reverse order"),
    ("forward", lambda *a: assembled(*a, late=True), "after the blocks"),
    ("forward", places_late, "Only one of positions and lead time"),
    ("forward", turned, "exchanged on the way out"),
    ("forward", lambda n, x, t, i, o: assembled(n, x, t, torch.arange(3), o), "ids of the input are not used"),
    ("forward", lambda n, x, t, i, o: assembled(n, x, t, i, i), "the input's variables"),
    ("forward", lambda n, x, t, i, o: assembled(n, x, t, i, torch.arange(6)), "all variables"),
    ("forward", lambda *a: assembled(*a)[:1], "Expected the fields (B, V_out, H, W): shape (2, 2, 4, 10), got (1, 2, 4, 10)"),
    ("forward", lambda *a: -assembled(*a), "not the forecast"),
    ("forward", lambda n, x, t, i, o: assembled(n, x, t[:, None], i, o), "stopped with"),
    ("count_parameters", lambda c: sum(parameters(c).values()), "Expected a dictionary"),
    ("count_parameters", lambda c: {"blocks": 3}, "missing or too many"),
    ("count_parameters", parameters_but("tokenizer", lambda n, d, c: n - 5 * d), "a bias and an embedding"),
    ("count_parameters", parameters_but("tokenizer", lambda n, d, c: 5 * d * 5), "p² pixels"),
    ("count_parameters", parameters_but("tokenizer", lambda n, d, c: n / 5), "its own"),
    ("count_parameters", parameters_but("aggregation", lambda n, d, c: n - d), "query is missing"),
    ("count_parameters", parameters_but("aggregation", lambda n, d, c: n - 4 * d), "four biases"),
    ("count_parameters", parameters_but("pos_embed", lambda n, d, c: 9 * n), "not cells"),
    ("count_parameters", parameters_but("lead_time_embed", lambda n, d, c: d), "has a bias"),
    ("count_parameters", parameters_but("blocks", lambda n, d, c: n / 3), "one block"),
    ("count_parameters", parameters_but("blocks", lambda n, d, c: n - 12 * d), "two norms"),
    ("count_parameters", parameters_but("blocks", lambda n, d, c: n - 27 * d), "biases of the linear maps"),
    ("count_parameters", parameters_but("norm", lambda n, d, c: d), "scale and a shift"),
    ("count_parameters", parameters_but("head", lambda n, d, c: n - 45), "bias of the last map"),
    ("count_parameters", parameters_but("head", lambda n, d, c: n - d * d - d), "two hidden layers"),
    ("count_parameters", parameters_but("head", lambda n, d, c: n + 1), "expected"),
    ("count_parameters", parameters_but("pos_embed", lambda n, d, c: 14 * d), "pos_embed: got 14,336"),
    ("count_flops", lambda *a: {k: n // 2 for k, n in flops(*a).items()}, "multiply-adds"),
    ("count_flops", lambda c, v, o: flops(c, len(c.variables), len(c.variables)), "all known"),
    ("count_flops", flops_but("aggregation", lambda n, L, d, c, v, o: n - 2 * L * d * d), "output projection"),
    ("count_flops", flops_but("aggregation", lambda n, L, d, c, v, o: n - 2 * L * v * d * d), "projected twice"),
    ("count_flops", flops_but("aggregation", lambda n, L, d, c, v, o: n - 4 * L * v * d), "Scores and weighted means"),
    ("count_flops", flops_but("blocks", lambda n, L, d, c, v, o: n // 3), "one block"),
    ("count_flops", flops_but("blocks", lambda n, L, d, c, v, o: 72 * L * d * d), "grows with L²"),
    ("count_flops", flops_but("head", lambda n, L, d, c, v, o: n - 4 * L * d * d), "hidden layers"),
    ("count_flops", flops_but("head", lambda n, L, d, c, v, o: n - 2 * L * d * o * 9), "last linear map"),
    ("count_flops", flops_but("tokenizer", lambda n, L, d, c, v, o: n // v), "Each of the num_in"),
    ("count_flops", flops_but("tokenizer", lambda n, L, d, c, v, o: n + 7), "tokenizer: got"),
    ("translate", lambda s: {f"net.{k}": v for k, v in translate(s).items()}, "prefix"),
    ("translate", lambda s: translate(s, old=False), "old names"),
    ("translate", lambda s: translate(s, number=str), "sorted as text"),
    ("translate", lambda s: translate(s, squeeze=False), "has the shape"),
    ("translate", lambda s: translate(s, flat=False), "has the shape"),
    ("translate", as_they_come, "Which variable is row 0"),
    ("translate", emptied, "changes the dictionary"),
    ("translate", prefixed_only, "loses keys"),
    ("translate", dropped_without_prefix, "may be missing"),
    ("translate", unstacked, "not in place"),
    ("translate", lambda s: [], "Expected a dictionary"),
    ("key_report", lambda e, s: report(s, e), "exchanged"),
    ("key_report", lambda e, s: report(e, s, lambda a, b: a.numel() == b.numel()), "number of elements"),
    ("key_report", lambda e, s: report(e, s, lambda a, b: a.ndim == b.ndim), "number of axes"),
    ("key_report", lambda e, s: report(e, s, lambda a, b: True), "Misshapen []"),
    ("key_report", lambda e, s: ([], [], []), "Missing []"),
    ("key_report", lambda e, s: [p[::-1] for p in report(e, s)], "no order"),
    ("key_report", lambda e, s: (["c", "e"], ["x", "y", "z"], ["a", "d", "f"]), "perfect fit"),
    ("key_report", lambda e, s: [k for k in sorted(e) if e[k].shape != s[k].shape], "'c' is missing in state"),
    ("key_report", lambda e, s: [k for k in sorted(s) if e[k].shape != s[k].shape], "'x' is missing in expected"),
    ("key_report", lambda e, s: report(e, s)[:2], "three lists"),
    ("training_bytes", lambda *a: {k: n // 4 for k, n in memory(*a).items()}, "not bytes"),
    ("training_bytes", memory_but("parameters", lambda n, u, p, depth, v, b: n * b), "there once"),
    ("training_bytes", memory_but("optimizer", lambda n, u, p, depth, v, b: 4 * p), "two numbers"),
    ("training_bytes", memory_but("optimizer", lambda n, u, p, depth, v, b: 16 * p), "lines of their own"),
    ("training_bytes", memory_but("activations", lambda n, u, p, depth, v, b: n // b), "Every sample"),
    ("training_bytes", memory_but("activations", lambda n, u, p, depth, v, b: u * b * (4 * v + 16)), "one block"),
    ("training_bytes", memory_but("activations", lambda n, u, p, depth, v, b: u * b * 16 * depth), "encoder"),
    ("training_bytes", memory_but("activations", lambda n, u, p, depth, v, b: n + 8), "activations: got"),
]  # fmt: skip


class TestExercises(Exercises):
    check = check
    solutions = SOLUTIONS
    wrong = WRONG


def test_the_formula_of_the_operations_is_what_the_machine_counts():
    config = ClimaXConfig(tuple("abcde"), (6, 21), 3, 24, 3, 4, encoder="reference")
    with torch.device("meta"):
        net = ClimaX(config)
        x, lead = torch.empty(1, 4, 6, 21), torch.empty(1)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        net(x, lead, tuple("cabd"), tuple("ea"))
    counted = Counter()
    for module, operations in counter.get_flop_counts().items():
        _, _, part = module.partition(".")
        if part in ("tokenizer", "aggregation", "head") or (part.startswith("blocks.") and part.count(".") == 1):
            counted[part.split(".")[0]] += sum(operations.values())
    assert dict(counted) == check.flops(config, 4, 2)


def test_the_paper_by_hand():
    """From the tables of the chapter: D = 1024, 48 variables, 512 patches of 4 pixels."""
    counts = check.machine_parameters(check.PAPER)
    assert counts["blocks"] == 8 * (12 * 1024**2 + 13 * 1024)
    assert sum(counts.values()) == 108_088_512
    assert check.training_memory(108_088_512, 512, 1024, 8, 48, 1)["activations"] == 4 * 512 * 1024 * 320


def test_every_mistake_has_a_hint():
    assert all(getattr(check, name)(answer).hint for name, answer, _ in WRONG)


def test_every_exercise_has_three_mistakes_or_more():
    assert all(sum(name == exercise for name, _, _ in WRONG) >= 3 for exercise in SOLUTIONS)


def test_the_learner_s_random_numbers_are_left_alone():
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    check.forward(assembled)
    check.translate(translate)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("name", SOLUTIONS)
@pytest.mark.parametrize("garbage", [None, "text", lambda *a: [[1], [2, 3]], lambda: 1, lambda *a: 0.5])
def test_other_garbage_gets_a_sentence(name, garbage):
    verdict = getattr(check, name)(garbage)
    assert not verdict.ok
    assert len(verdict.sentence) > 20
