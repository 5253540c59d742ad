"""Checks of the chapter *ClimaX assembled*."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..model import ClimaX, ClimaXConfig, patchify, to_official
from .answers import Mistake, either, expect, random
from .verdict import Verdict, attempt, checker, right, wrong

PAPER = ClimaXConfig(tuple(f"variable_{i}" for i in range(48)), encoder="reference")


def _network(num_variables: int = 6, **changes: Any) -> ClimaX:
    """A small network in float64 with every parameter random, and the same one at every call."""
    names = tuple(f"variable_{i}" for i in range(num_variables))
    sizes = {"grid_shape": (4, 10), "embed_dim": 16, "depth": 3, "num_heads": 2, "encoder": "reference"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = ClimaX(ClimaXConfig(names, **{**sizes, **changes})).double()
        for parameter in net.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return net.eval().requires_grad_(False)


def _forward(
    net: ClimaX, x: Tensor, lead: Tensor, ids: Tensor, out: Tensor, *, unit: float = 100.0, left_out: Sequence[str] = (),
    order: Sequence[int] | None = None, late: Sequence[str] = (), shape: tuple[int, int] | None = None,
) -> Tensor:  # fmt: skip
    """The forward pass, with switches for what is easily got wrong."""
    sums = {"positions": net.pos_embed, "lead": net.lead_time_embed(lead[:, None] / unit)[:, None]}
    tokens = net.aggregation(net.tokenizer(patchify(x, net.config.patch_size), ids))
    for part in sums.keys() - set(late) - set(left_out):
        tokens = tokens + sums[part]
    for i in range(len(net.blocks)) if order is None else order:
        tokens = net.blocks[i](tokens)
    for part in (sums.keys() & set(late)) - set(left_out):
        tokens = tokens + sums[part]
    tokens = tokens if "norm" in left_out else net.norm(tokens)
    return net.head(tokens, out, shape or net.config.patches)


@checker
def forward(function: Any) -> Verdict:
    """The whole forward pass from the modules of a network."""
    net, ids, out = _network(), torch.tensor([4, 1, 3]), torch.tensor([2, 5])
    x = random(2, 3, 4, 10)
    given = (net, x, torch.tensor([24.0, 120.0], dtype=torch.float64), ids, out)
    answer = attempt(function, *given)
    if not isinstance(answer, Tensor):
        return wrong(f"Expected a tensor, got {type(answer).__name__}.", "The fields (B, V_out, H, W).")
    rows, columns = net.config.patches
    mistakes: list[Mistake] = [
        (either(*(_forward(*given, unit=u) for u in (1.0, 24.0, 6.0, 168.0, 1000.0))), "The lead time is in hours; the network wants it in units of 100 hours.", "The previous chapter divides before the linear map."),
        (_forward(*given, left_out=("positions",)), "The positions are missing: this forecast does not know where its patches are.", "net.pos_embed is (1, L, D)."),
        (_forward(*given, left_out=("lead",)), "The lead time is missing: all lead times get one forecast.", "net.lead_time_embed maps (B, 1) to (B, D). What must its shape be to meet (B, L, D)?"),
        (_forward(*given, left_out=("lead", "positions")), "Positions and lead time are both missing.", "They are added to the tokens between aggregation and blocks."),
        (_forward(*given, left_out=("norm",)), "The last norm is missing.", "The residual stream leaves the blocks as large as it happens to be; net.norm comes before the head."),
        (_forward(*given, order=()), "There are no blocks in it.", "net.blocks holds them; call one after the other."),
        (either(*(_forward(*given, order=(i,)) for i in range(3))), "Only one of the blocks was used.", "Loop over net.blocks."),
        (_forward(*given, order=(2, 1, 0)), "The blocks ran in the reverse order.", "The first block comes first."),
        (_forward(*given, late=("positions", "lead")), "Positions and lead time came after the blocks: no patch could use them to find another.", "Add them before the first block."),
        (either(*(_forward(*given, late=(part,)) for part in ("positions", "lead"))), "Only one of positions and lead time came before the blocks.", "Add both before the first block."),
        (_forward(*given, shape=(columns, rows)), "Rows and columns of patches are exchanged on the way out.", "net.config.patches is (rows, columns)."),
        (either(_forward(net, x, given[2], torch.arange(3), out), _forward(net, x, given[2], ids.sort().values, out)), "The ids of the input are not used: channel 0 was read as variable 0.", "The tokenizer takes patches and ids."),
        (_forward(*given[:4], ids), "The output holds the input's variables.", "The head is asked for out_ids, whatever came in."),
        (_forward(*given[:4], torch.arange(6)), "The output holds all variables of the network.", "Hand out_ids to the head: it computes the rows of those only."),
    ]  # fmt: skip
    expect(answer, _forward(*given), mistakes, "The shape is right, the numbers are not the forecast of these modules.",
        "Six steps in the order of the figure: patchify, tokenizer, aggregation, two sums, blocks and norm, head.",
        "the fields (B, V_out, H, W)")  # fmt: skip
    return right("Right: your forward is the package's. Everything else in the class is checks of its input.")


def machine_parameters(config: ClimaXConfig) -> dict[str, int]:
    """Parameters of each part, counted on a network without memory."""
    with torch.device("meta"):
        net = ClimaX(config)
    counts: dict[str, int] = {}
    for name, parameter in net.named_parameters():
        part = name.split(".")[0]
        counts[part] = counts.get(part, 0) + parameter.numel()
    return counts


def _counts(
    answer: Any, expected: Mapping[str, int], mistakes: Mapping[str, Mapping[int, str]], hint: str
) -> Verdict | None:
    """What is wrong with a dictionary of counts, part by part; None when nothing is."""
    if not isinstance(answer, Mapping):
        return wrong(f"Expected a dictionary, got {type(answer).__name__}.", f"Its keys are {', '.join(expected)}.")
    if set(answer) != set(expected):
        odd = sorted(map(str, set(answer) ^ set(expected)))
        return wrong(f"Keys that are missing or too many: {', '.join(odd)}.", f"Expected {', '.join(expected)}.")
    for part, value in expected.items():
        got = float(answer[part])
        if abs(got - value) > 0.5:
            known = mistakes.get(part, {})
            named = next((s for v, s in known.items() if abs(got - v) <= 0.5), "")
            return wrong(f"{part}: got {got:,.0f}, expected {value:,}. {named}".strip(), hint)
    return None


@checker
def count_parameters(function: Any) -> Verdict:
    """Parameters by formula, part by part."""
    k, p, d, rows, columns, depth = 5, 3, 24, 2, 7, 3
    config = ClimaXConfig(tuple("abcde"), (rows * p, columns * p), p, d, depth, 4)
    block = 12 * d * d + 13 * d
    hidden, last = 2 * (d * d + d), k * p * p * (d + 1)
    mistakes = {
        "tokenizer": {
            k * d * (p * p + 1): "A variable has a bias and an embedding: two vectors.",
            k * d * p * p: "Bias and variable embedding are missing.",
            k * d * (p + 2): "A patch has p² pixels.",
            d * (p * p + 2): "Every variable has its own.",
        },
        "aggregation": {
            4 * d * d + 4 * d: "The learned query is missing.",
            4 * d * d + d: "The four biases are missing.",
            4 * d * d: "The biases and the learned query are missing.",
            3 * d * d + 4 * d: "The output projection is missing.",
        },
        "pos_embed": {
            d: "Every patch has an address of its own.",
            rows * columns * p * p * d: "Patches have addresses, not cells.",
        },
        "lead_time_embed": {d: "A linear map has a bias."},
        "blocks": {
            block: "That is one block.",
            depth * (block - 4 * d): "A block has two norms, each with a scale and a shift.",
            depth * (block - 2 * d): "A norm has a scale and a shift.",
            depth * (block - 9 * d): "The biases of the linear maps are missing.",
            depth * 12 * d * d: "Biases and norms are missing.",
            depth * (block - 8 * d * d - 5 * d): "The MLP is missing.",
        },
        "norm": {d: "A norm has a scale and a shift."},
        "head": {
            last: "The two hidden layers are missing.",
            hidden: "The last linear map, to the pixels of all variables, is missing.",
            hidden // 2 + last: "There are two hidden layers.",
            hidden + k * p * p * d: "The bias of the last map is missing.",
            hidden + p * p * (d + 1): "The last map makes the pixels of all known variables.",
        },
    }
    hint = "A linear map from m to n numbers has m·n weights and n biases."
    for some in (config, PAPER):
        fault = _counts(attempt(function, some), machine_parameters(some), mistakes if some is config else {}, hint)
        if fault is not None:
            return fault
    return right("Right, to the last number: 108,088,512 for the paper's configuration.")


def flops(config: ClimaXConfig, num_in: int, num_out: int) -> dict[str, int]:
    """Two for each multiply-add of the forward pass of one sample, with the reference encoder."""
    d, pixels = config.embed_dim, config.patch_size**2
    places = config.patches[0] * config.patches[1]
    return {
        "tokenizer": 2 * places * num_in * pixels * d,
        "aggregation": places * (4 * num_in * d * d + 4 * num_in * d + 2 * d * d) + 2 * d * d,
        "blocks": config.depth * (24 * places * d * d + 4 * places**2 * d),
        "head": 4 * places * d * d + 2 * places * d * num_out * pixels,
    }


@checker
def count_flops(function: Any) -> Verdict:
    """FLOPs of the forward pass by formula, part by part."""
    config = ClimaXConfig(tuple("abcde"), (6, 21), 3, 24, 3, 4, encoder="reference")
    places, d, v, out = 14, 24, 4, 2
    expected = flops(config, v, out)
    answer, whole = attempt(function, config, v, out), expected["aggregation"]
    if isinstance(answer, Mapping) and set(answer) == set(expected):
        if all(2 * answer[part] == value for part, value in expected.items()):
            return wrong("These are multiply-adds.", "A multiply-add is two operations.")
        if all(answer[part] == value for part, value in flops(config, 5, 5).items()):
            return wrong("You counted all known variables.", "num_in come in and num_out go out.")
    mistakes = {
        "tokenizer": {
            2 * places * 9 * d: "Each of the num_in variables is tokenized.",
            2 * 6 * 21 * v * 9 * d: "That is for every cell; a patch is multiplied once.",
        },
        "aggregation": {
            whole - 2 * d * d: "The query's own product is missing: once for all patches.",
            whole - 2 * places * d * d: "The output projection is missing.",
            whole - 2 * places * v * d * d: "Every token is projected twice, to a key and to a value.",
            whole - 4 * places * v * d: "Scores and weighted means are missing.",
            whole - 2 * places * v * d: "Scores are one product, the weighted means another.",
            whole + (places - 1) * 2 * d * d: "The query is the same for all patches, and is made once.",
            whole + 2 * places * (v - 1) * d * d: "There is one output for each patch, not V.",
        },
        "blocks": {
            expected["blocks"] // 3: "That is one block.",
            3 * 24 * places * d * d: "The part that grows with L² is missing.",
            3 * (24 * places * d * d + 2 * places**2 * d): "Scores are one product, the weighted means another.",
            3 * (8 * places * d * d + 4 * places**2 * d): "The MLP is missing.",
        },
        "head": {
            2 * places * d * out * 9: "The hidden layers are missing.",
            4 * places * d * d: "The last linear map is missing.",
            4 * places * d * d + 2 * places * d * v * 9: "The output has num_out variables.",
            4 * places * d * d + 2 * places * d * 5 * 9: "Only the rows of the asked variables are computed.",
        },
    }
    hint = (
        "A product of (m, k) with (k, n) takes 2·m·k·n operations. How many rows, one for each patch or for each token?"
    )
    if (fault := _counts(answer, expected, mistakes, hint)) is not None:
        return fault
    if (fault := _counts(attempt(function, PAPER, 48, 3), flops(PAPER, 48, 3), {}, hint)) is not None:
        return fault
    return right("Right: half of the paper's work is done before the first block.")


@checker
def translate(function: Any) -> Verdict:
    """Official names and shapes to ours."""
    net = _network(num_variables=12)
    official = to_official(net)
    for word in ("var_", "channel_"):
        state = {f"net.{k}".replace("var_", word): official[k] for k in reversed(official)}
        given = dict(state)
        answer = attempt(function, state)
        if not isinstance(answer, Mapping):
            return wrong(f"Expected a dictionary, got {type(answer).__name__}.", "Names to tensors.")
        if set(state) != set(given):
            return wrong("Your function changes the dictionary that it is given.", "Fill a new one.")
        if (fault := _translated(answer, net.state_dict())) is not None:
            return fault
    try:
        bare = function(dict(official))
    except Exception:  # such as a stack of no tensors: the function found no key without the prefix
        bare = None
    if not isinstance(bare, Mapping) or set(bare) != set(net.state_dict()):
        return wrong(
            "The prefix `net.` may be missing, and then your function loses keys or stops.",
            "`removeprefix` does nothing where there is none.",
        )
    return right("Right: every tensor has found its place, and load_state_dict would have said if not.")


def _translated(answer: Mapping[str, Any], expected: Mapping[str, Tensor]) -> Verdict | None:
    missing, left = sorted(set(expected) - set(answer)), sorted(map(str, set(answer) - set(expected)))
    if any(k == "net" or k.startswith("net.") for k in left):
        return wrong("The prefix `net.` is still there.", "key.removeprefix('net.')")
    if any(k.startswith("channel_") for k in left):
        return wrong(
            f"With the old names: {left[:3]} are left.", "channel_embed, channel_query, channel_agg: see the table."
        )
    if any(k.startswith("token_embeds") for k in left) or any(k.startswith("tokenizer.") for k in missing):
        return wrong(
            f"The token weights are not in place: missing {missing}, too many {left[:3]}.", "Stack K tensors to one."
        )
    if missing or left:
        return wrong(f"Missing {missing[:4]}, too many {left[:4]}.", "Compare with FIRST.")
    for key, tensor in expected.items():
        got = answer[key]
        if tuple(got.shape) != tuple(tensor.shape):
            return wrong(
                f"{key} has the shape {tuple(got.shape)}, expected {tuple(tensor.shape)}.",
                "Official shapes carry axes of length 1.",
            )
        if not torch.equal(got.double(), tensor):
            order = sorted(range(12), key=str)
            if key.startswith("tokenizer.") and torch.equal(got.double(), tensor[order]):
                return wrong(
                    "The variables are in the order 0, 1, 10, 11, 2: sorted as text.", "Sort by the number: int('10')."
                )
            return wrong(
                f"{key} holds other numbers than it should.", "Which variable is row 0? state comes in any order."
            )
    return None


@checker
def key_report(function: Any) -> Verdict:
    """Three sorted lists: missing, left over, misshapen."""

    def zeros(**shapes: tuple[int, ...]) -> dict[str, Tensor]:
        return {name: torch.zeros(shape) for name, shape in shapes.items()}

    expected = zeros(a=(2, 3), b=(4,), c=(1,), d=(6,), e=(2,), f=(4,))
    state = zeros(z=(1,), b=(4,), d=(2, 3), a=(3, 2), y=(9,), x=(1,), f=(5,))
    try:
        function(expected, state)
    except KeyError as error:
        if error.args and error.args[0] in expected.keys() ^ state.keys():
            where = "state" if error.args[0] in expected else "expected"
            return wrong(
                f"{error.args[0]!r} is missing in {where}, and your function looks it up there.",
                "Compare shapes only of keys on both sides.",
            )
    except Exception:  # attempt() below says which and where
        pass
    answer = attempt(function, expected, state)
    if not isinstance(answer, Sequence) or isinstance(answer, str) or len(answer) != 3:
        return wrong("Expected three lists: missing, left over, misshapen.", "return missing, left_over, misshapen")
    missing, left, wrong_shape = (sorted(part) for part in answer)
    if (missing, left) == (["x", "y", "z"], ["c", "e"]):
        return wrong("Missing and left over are exchanged.", "Missing is what the network expects and nobody brought.")
    if missing != ["c", "e"] or left != ["x", "y", "z"]:
        return wrong(
            f"Missing {missing} and left over {left}; expected ['c', 'e'] and ['x', 'y', 'z'].", "set(a) - set(b)"
        )
    if wrong_shape == ["f"]:
        return wrong(
            "A (3, 2) in place of (2, 3) was let through.", "The number of elements agrees; the shape does not."
        )
    if wrong_shape == ["d"]:
        return wrong(
            "A (5,) in place of (4,) was let through.", "The number of axes agrees. Compare the shapes themselves."
        )
    if wrong_shape != ["a", "d", "f"]:
        return wrong(
            f"Misshapen {wrong_shape}, expected ['a', 'd', 'f'].",
            "Only keys that are on both sides have a shape to compare.",
        )
    if [list(part) for part in answer] != [missing, left, wrong_shape]:
        return wrong("Right names in no order.", "sorted(...) makes a list that reads the same every day.")
    if any(attempt(function, expected, expected)):
        return wrong("A perfect fit must give three empty lists.", "Same keys, same shapes.")
    return right("Right: this is all that strict loading is.")


def training_memory(parameters: int, patches: int, width: int, depth: int, num_in: int, batch: int) -> dict[str, int]:
    """Bytes in float32, as the chapter counts them."""
    kept = batch * patches * width * (4 * num_in + 16 * depth)
    return {
        "parameters": 4 * parameters,
        "gradients": 4 * parameters,
        "optimizer": 8 * parameters,
        "activations": 4 * kept,
    }


@checker
def training_bytes(function: Any) -> Verdict:
    """Memory of a training step by formula."""
    given = (1000, 14, 24, 3, 5, 2)
    n, places, d, depth, v, batch = given
    answer = attempt(function, *given)
    expected = training_memory(*given)
    if isinstance(answer, Mapping) and all(4 * answer.get(k, 0) == b for k, b in expected.items()):
        return wrong("These are numbers, not bytes.", "float32 has four bytes.")
    unit = 4 * places * d
    mistakes = {
        "parameters": {4 * n * batch: "The parameters are there once, whatever the batch."},
        "gradients": {4 * n * batch: "Gradients are summed over the batch: one for each parameter."},
        "optimizer": {
            4 * n: "AdamW keeps two numbers for each parameter.",
            12 * n: "The gradient is counted on a line of its own.",
            16 * n: "Parameters and gradients have lines of their own.",
        },
        "activations": {
            unit * (4 * v + 16 * depth): "Every sample of the batch has its own.",
            unit * batch * (4 * v + 16): "That is one block.",
            unit * batch * (3 * v + 16 * depth): "Tokens are kept twice.",
            unit * batch * 16 * depth: "The encoder is missing.",
        },
    }  # fmt: skip
    if (fault := _counts(answer, expected, mistakes, "Look at the table again: what grows with what?")) is not None:
        return fault
    return right("Right: parameters are only a quarter of what does not depend on the batch.")
