"""The checkers of *Full pretraining on a GPU*: solutions pass, and every usual mistake gets its own sentence."""

import functools
import math

import numpy as np
import pytest

from climax_lite.check import full_pretraining as check
from climax_lite.model import ClimaXConfig


def stub(*args, **kwargs): ...


# ---------------------------------------------------------------- solutions, with a switch for each mistake


def forward_flops(config, num_in, num_out, batch, per_block=1, per=1, where="all"):
    d, pixels, n = config.embed_dim, config.patch_size**2, config.num_heads
    inside = num_in * (pixels + (where != "no one"))
    patches = config.patches[0] * config.patches[1]
    once = 4 * d**2 + 2 * (n * d + d**2) * inside
    place = 2 * (n + d) * inside + 2 * d**2 * (where != "no output")
    if where == "every head":
        place = 2 * (n + n * d) * inside + 2 * d**2
    block = 24 * patches * d**2 + (0 if where == "no attention" else 4 * patches**2 * d)
    if where == "one attention":
        block = 24 * patches * d**2 + 4 * (batch * patches) ** 2 * d
    out = {"all known": len(config.variables), "in for out": num_in, "no pixels": num_out / pixels}.get(where, num_out)
    head = 4 * d**2 + 2 * d * out * pixels
    samples = 1 if where == "one sample" else batch
    encoder = once + samples * patches * place
    if where == "once each":
        encoder = batch * (once + patches * place)
    if where == "never once":
        encoder = batch * patches * place
    depth = 1 if where == "one block" else config.depth
    found = {"encoder": encoder, "blocks": samples * depth * block, "head": samples * patches * head}
    return {k: v * (0.5 if where == "half" else 1) for k, v in found.items()}


def mfu(rate, flops, peak, gpus=1, factor=3.0, power=-1):
    return factor * rate * flops / peak * float(gpus) ** power


def training_bytes(
    parameters, tokens, width, depth, checkpointing=False, shards=1, each=16, one=36, extra=36, split="state"
):
    kept = 4 * depth + extra if checkpointing else one * depth
    return {
        "state": each * parameters / (shards if split != "none" else 1),
        "activations": tokens * width * kept / (shards if split == "both" else 1),
    }


def run_cost(flops, gpus, peak, mfu, watts, pue, kg, hours=1.0, kwh=1.0, carbon=1.0):
    h = flops / (gpus * peak * mfu) / 3600 * hours
    e = gpus * watts / 1000 * h * pue * kwh
    return {"hours": h, "kwh": e, "kg": kg * e * carbon}


def fault(log, jump=2.0, share=0.1, leak=0.75, before="median", wait="later median", low="medians", nan=True):
    loss, validation, waiting = log["train_loss"], log["validation_loss"], log["waiting_for_data"]
    lines = range(5, len(loss))
    if before == "median":
        usual = np.array([(np.nanmedian if nan else np.median)(loss[i - 5 : i]) for i in lines])
    elif before == "lowest":
        usual = np.fmin.accumulate(loss)[4:-1]
    else:
        usual = loss[4:-1]
    later = waiting[len(waiting) // 2 :]
    waits = {
        "later median": np.nanmedian(later) if nan else np.median(later),
        "later mean": np.nanmean(later),
        "later most": np.nanmax(later),
        "mean": np.nanmean(waiting),
        "median": np.nanmedian(waiting),
    }
    both = np.isfinite(loss) & np.isfinite(validation)
    ratios = {
        "medians": np.median(validation[both]) / np.median(loss[both]),
        "last": validation[both][-1] / loss[both][-1],
        "lowest": validation[both].min() / loss[both].min(),
        "with nan": validation.mean() / loss.mean(),
    }
    found = {
        "learning rate": np.any(loss[5:] > jump * usual),
        "data": waits[wait] > share,
        "leak": not ratios[low] >= leak,
    }
    return next((name for name in found if found[name]), "none")


def by_rate(log):
    """Looks at a fall of the rate only."""
    rate = log["samples_per_second"]
    half = len(rate) // 2
    return "data" if np.nanmedian(rate[half:]) < 0.6 * np.nanmedian(rate[:half]) else fault(log, share=2.0)


def workers(step, worker, margin=2.0, whole=math.ceil):
    return whole(margin * step / worker)


def power_law(x, loss, scale=np.log, free=2, sign=-1, root=0.5):
    u, w = np.log(x), scale(loss)
    fit = np.polyfit(u, w, 1)
    left = ((w - np.polyval(fit, u)) ** 2).sum() / (len(u) - free)
    return sign * fit[0], (left / ((u - u.mean()) ** 2).sum()) ** root


SOLUTIONS = {
    "forward_flops": forward_flops,
    "mfu": mfu,
    "training_bytes": training_bytes,
    "run_cost": run_cost,
    "fault": fault,
    "workers": workers,
    "power_law": power_law,
}


@pytest.mark.parametrize("name", SOLUTIONS)
def test_solution_passes(name):
    verdict = getattr(check, name)(SOLUTIONS[name])
    assert verdict.ok, verdict


@pytest.mark.parametrize("name", SOLUTIONS)
def test_stub_is_not_yet(name):
    assert getattr(check, name)(stub).state == "not yet"


@pytest.mark.parametrize("name", SOLUTIONS)
@pytest.mark.parametrize(
    "garbage",
    [
        None,
        3,
        lambda *a: "text",
        lambda *a: [1, 2, 3],
        lambda *a: {"encoder": "x", "hours": None},
        lambda *a: 1 / 0,
        lambda *a: np.ones((2, 2)),
    ],
)
def test_garbage_gets_a_sentence(name, garbage):
    verdict = getattr(check, name)(garbage)
    assert verdict.state == "wrong"
    assert verdict.sentence


WRONG = [
    ("forward_flops", {"where": "half"}, "multiply-adds"),
    ("forward_flops", {"where": "one sample"}, "That is one sample"),
    ("forward_flops", {"where": "one block"}, "That is one block"),
    ("forward_flops", {"where": "no attention"}, "grows with L²"),
    ("forward_flops", {"where": "one attention"}, "do not look at those of another"),
    ("forward_flops", {"where": "all known"}, "only the variables that are asked for"),
    ("forward_flops", {"where": "in for out"}, "not num_in"),
    ("forward_flops", {"where": "no pixels"}, "p² pixels"),
    ("forward_flops", {"where": "once each"}, "made once for the whole batch"),
    ("forward_flops", {"where": "never once"}, "made once for the batch is missing"),
    ("forward_flops", {"where": "no output"}, "not right: output projection. The whole row"),
    ("forward_flops", {"where": "no one"}, "The one that joins the pixels"),
    ("forward_flops", {"where": "every head"}, "all heads together make D"),
    ("mfu", {"factor": 1}, "forward pass alone"),
    ("mfu", {"factor": 2}, "backward pass alone"),
    ("mfu", {"power": 0}, "number of GPUs is missing"),
    ("mfu", {"power": 1}, "make your MFU larger"),
    ("mfu", {"factor": 300}, "per cent"),
    ("mfu", {"factor": 6}, "FLOPs forward, on four GPUs"),
    ("training_bytes", {"each": 12}, "16 bytes, not 12"),
    ("training_bytes", {"each": 4}, "weights alone"),
    ("training_bytes", {"each": 8}, "state of 16 million bytes"),
    ("training_bytes", {"one": 64}, "36 bytes for each token"),
    ("training_bytes", {"extra": 0}, "being recomputed is missing"),
    ("training_bytes", {"split": "none"}, "a quarter of the state"),
    ("training_bytes", {"split": "both"}, "not the activations"),
    ("run_cost", {"hours": 3600}, "seconds"),
    ("run_cost", {"hours": 8}, "GPU hours"),
    ("run_cost", {"hours": 0.25}, "full speed"),
    ("run_cost", {"hours": 0.0625}, "makes your run shorter"),
    ("run_cost", {"hours": 3}, "counted twice"),
    ("run_cost", {"kwh": 1 / 8}, "energy of one GPU"),
    ("run_cost", {"kwh": 1000}, "watt hours"),
    ("run_cost", {"kwh": 0.8}, "building is missing"),
    ("run_cost", {"kwh": 0.64}, "never saves energy"),
    ("run_cost", {"kwh": 0.25}, "quarter of its power"),
    ("run_cost", {"carbon": 0.8}, "leaves out the building"),
    ("run_cost", {"carbon": 1000}, "kWh times kg"),
    ("fault", {"jump": 1.05}, "sound run gets an alarm"),
    ("fault", {"jump": 20}, "jumps to three times"),
    ("fault", {"before": "lowest"}, "the lowest so far"),
    ("fault", {"before": "last"}, "one low loss"),
    ("fault", {"share": 2.0}, "last three eighths"),
    ("fault", {"wait": "median"}, "last three eighths"),
    ("fault", {"nan": False}, "Does a NaN hide the jump"),
    ("fault", {"wait": "mean"}, "in the first third"),
    ("fault", {"wait": "later most"}, "One slow line"),
    ("fault", {"wait": "later mean"}, "Five slow lines"),
    ("fault", {"leak": 0.1}, "0.65 of the training loss"),
    ("fault", {"low": "last"}, "One low validation loss"),
    ("fault", {"low": "with nan"}, "sound run gets an alarm"),
    ("workers", {"margin": 1}, "without a margin"),
    ("workers", {"whole": math.floor}, "Rounded down"),
    ("workers", {"whole": float}, "Half a process"),
    ("power_law", {"sign": 1}, "The sign"),
    ("power_law", {"scale": lambda v: v}, "in the loss itself"),
    ("power_law", {"free": 0}, "two of five"),
    ("power_law", {"free": 1}, "n − 1"),
    ("power_law", {"root": 1}, "variance"),
]


@pytest.mark.parametrize(("name", "mistake", "part"), WRONG)
def test_usual_mistake_is_named(name, mistake, part):
    verdict = getattr(check, name)(functools.partial(SOLUTIONS[name], **mistake))
    assert verdict.state == "wrong"
    assert part in f"{verdict.sentence} {verdict.hint}", verdict


@pytest.mark.parametrize(
    ("name", "function", "part"),
    [
        ("fault", by_rate, "from the first line on"),
        ("fault", lambda log: "bad", "Expected one of"),
        ("workers", lambda step, worker: math.ceil(2 * worker / step), "upside down"),
        ("mfu", lambda r, f, p, gpus=1: gpus * p / (3 * r * f), "upside down"),
        ("mfu", lambda r, f, p, gpus=1: min(1, mfu(r, f, p, gpus)), "do not hide it"),
        ("training_bytes", lambda n, t, d, depth, c=False, s=1: training_bytes(n, t, d, depth, False, s), "changes nothing"),
        ("training_bytes", lambda n, t, d, depth, c=False, s=1: training_bytes(n, t, d, 1, c, s), "That is one block"),
        ("training_bytes", lambda n, t, d, depth, c=False, s=1: training_bytes(n, t, d, depth, c, s, extra=32), "keep 3,440,640 bytes here, not 3,194,880"),
        ("training_bytes", lambda n, t, d, depth, c=False, s=1: {"state": 16 * n * t / s, "activations": 1}, "state of 16 million"),
        ("forward_flops", lambda *a: {"blocks": 1}, "Expected a dictionary"),
        ("run_cost", lambda *a: {"hours": 1.0, "kwh": 1.0, "kg": 1.0}, "take 12.5 hours"),
    ],
)  # fmt: skip
def test_other_mistakes(name, function, part):
    verdict = getattr(check, name)(function)
    assert verdict.state == "wrong"
    assert part in f"{verdict.sentence} {verdict.hint}", verdict


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda v, p, d, n, places: places * 2 * (v - 1) * (p + 1) * n, "scores. For each of V"),
        (lambda v, p, d, n, places: places * v * (p + 1) * n, "scores. A product"),
        (lambda v, p, d, n, places: (places - 4) * 2 * v * (p + 1) * d, "outputs of all heads. At each of L patches"),
        (lambda v, p, d, n, places: (places - 8) * 2 * d * d, "output projection. For each sample"),
        (lambda v, p, d, n, places: n * d * v * (p + 1), "score vectors. A product"),
        (lambda v, p, d, n, places: 2 * d * d, "the key weights. The whole row"),
    ],
)
def test_the_row_of_the_table_is_named(change, part):
    """Four samples of eight patches; the operations that are left out, and the row that is named."""

    def left_out(config, num_in, num_out, batch):
        found = forward_flops(config, num_in, num_out, batch)
        places = batch * config.patches[0] * config.patches[1]
        less = change(num_in, config.patch_size**2, config.embed_dim, config.num_heads, places)
        return found | {"encoder": found["encoder"] - less}

    verdict = check.forward_flops(left_out)
    assert part in f"{verdict.sentence} {verdict.hint}", verdict


def test_the_three_logs_of_the_chapter():
    assert {name: fault(log) for name, log in check.three_logs().items()} == {
        "A": "learning rate",
        "B": "data",
        "C": "leak",
    }


def test_counts_of_the_papers_network():
    """By hand: a block of the paper, 24·512·1024² + 4·512²·1024, eight of them; the head 512·(4·1024² + 2·1024·48·4)."""
    found = check.counted(ClimaXConfig(tuple(map(str, range(48)))), 48, 48, 1)
    assert found["blocks"] == 8 * (24 * 512 * 1024**2 + 4 * 512**2 * 1024)
    assert found["head"] == 512 * (4 * 1024**2 + 2 * 1024 * 192)
