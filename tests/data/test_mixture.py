"""The mixture: an exact account of samples over workers, ranks, epochs and interruptions."""

import collections

import numpy as np
import pytest
import torch

from climax_lite.data import ForecastSamples, Mixture, MixtureLoader, Record, ordered

from .test_forecast import toy


@pytest.fixture(scope="module")
def sources():
    return {
        "long": ForecastSamples.of(Record.of(toy(106), "long"), range(6, 31, 6)),  # 105 samples
        "short": ForecastSamples.of(Record.of(toy(31, hours=12), "short"), range(12, 31, 6), ("2m_temperature",)),  # 30
    }


def account(batches):
    """Per source, how often each initial time came."""
    count = collections.defaultdict(collections.Counter)
    for b in batches:
        count[b.source].update(b.samples[:, 0].tolist())
    return count


def same(a, b):
    return (
        a.source == b.source and torch.equal(a.samples, b.samples) and torch.equal(a.x, b.x) and torch.equal(a.y, b.y)
    )


def test_one_source_per_batch_with_its_own_variables(sources):
    for b in MixtureLoader(Mixture(sources, batch_size=5)):
        assert b.out_variables == sources[b.source].out_variables
        assert b.x.shape[:2] == (5, 4)
        assert len(b.y[0]) == (3 if b.source == "long" else 1)


def test_in_proportion_an_epoch_is_every_sample_once(sources):
    mixture = Mixture(sources, batch_size=5)
    assert mixture.quota == {"long": 21, "short": 6}
    assert mixture.passes() == {"long": 1.0, "short": 1.0}
    count = account(MixtureLoader(mixture))
    assert count["long"] == dict.fromkeys(range(105), 1)
    assert count["short"] == dict.fromkeys(range(30), 1)


def test_streams_go_on_over_epochs_so_that_nothing_comes_twice_before_all_came_once(sources):
    mixture = Mixture(sources, batch_size=4, batches_per_epoch=10)
    loader = MixtureLoader(mixture)
    seen = [b for _ in range(13) for b in loader]
    count = account(seen)
    assert mixture.epoch == 13
    for name, samples in sources.items():
        times = 13 * mixture.quota[name] * 4
        assert sum(count[name].values()) == times
        assert set(count[name].values()) <= {times // len(samples), times // len(samples) + 1}


@pytest.mark.parametrize(("temperature", "share"), [(1, 105 / 135), (2, 105**0.5 / (105**0.5 + 30**0.5)), (1e9, 0.5)])
def test_temperature(sources, temperature, share):
    mixture = Mixture(sources, batch_size=5, temperature=temperature, batches_per_epoch=1000)
    assert mixture.quota["long"] == pytest.approx(1000 * share, abs=1)
    assert sum(mixture.quota.values()) == 1000


def test_weights(sources):
    assert Mixture(sources, weights={"long": 1, "short": 3}, batches_per_epoch=8).quota == {"long": 2, "short": 6}


def test_a_rare_source_keeps_one_batch_an_epoch(sources):
    assert Mixture(sources, weights={"long": 1e6, "short": 1}, batches_per_epoch=8).quota == {"long": 7, "short": 1}


def test_the_order_is_shuffled_and_differs_between_epochs_and_seeds(sources):
    first = Mixture(sources, batch_size=5)
    second, other = Mixture(sources, batch_size=5, epoch=1), Mixture(sources, batch_size=5, seed=1)
    names = [[n for n, _ in m.schedule()] for m in (first, second, other)]
    assert names[0] != names[1] != names[2] != names[0]
    positions = [first[k].samples[:, 0].tolist() for k in range(len(first))]
    assert positions != [other[k].samples[:, 0].tolist() for k in range(len(other))]


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(sources, workers):
    alone = list(MixtureLoader(Mixture(sources, batch_size=5)))
    many = list(MixtureLoader(Mixture(sources, batch_size=5), num_workers=workers))
    assert len(alone) == len(many)
    assert all(same(a, b) for a, b in zip(alone, many, strict=True))


@pytest.mark.parametrize(("ranks", "workers"), [(2, 0), (3, 2), (5, 0)])
def test_ranks_share_each_global_batch(sources, ranks, workers):
    one = list(MixtureLoader(Mixture(sources, batch_size=30)))
    parts = [
        list(MixtureLoader(Mixture(sources, batch_size=30 // ranks, rank=r, world_size=ranks), num_workers=workers))
        for r in range(ranks)
    ]
    assert {len(p) for p in parts} == {len(one)}
    for k, whole in enumerate(one):
        pieces = [p[k] for p in parts]
        assert {p.source for p in pieces} == {whole.source}
        # The same samples with the same lead times: the loss of an epoch does not depend on the number of ranks.
        assert torch.equal(torch.cat([p.samples for p in pieces]), whole.samples)
        assert torch.equal(torch.cat([p.y for p in pieces]), whole.y)
    count = account([b for p in parts for b in p])
    assert sum(count["long"].values()) == sum(len(b) for b in one if b.source == "long")


@pytest.mark.parametrize("stop", [0, 1, 13, 26])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_stopped_epoch_goes_on_in_the_same_order(sources, stop, workers):
    whole = [b for _ in range(1) for b in MixtureLoader(Mixture(sources, batch_size=5))]
    loader = MixtureLoader(Mixture(sources, batch_size=5), num_workers=workers)
    before = []
    iterator = iter(loader)
    for _ in range(stop):
        before.append(next(iterator))
    state = loader.state_dict()
    del iterator
    resumed = MixtureLoader(Mixture(sources, batch_size=5), num_workers=workers)
    resumed.load_state_dict(state)
    after = list(resumed)
    assert len(before) + len(after) == len(whole)
    assert all(same(a, b) for a, b in zip(before + after, whole, strict=True))
    assert resumed.state_dict()["epoch"] == 1


def test_a_state_of_another_mixture_is_refused(sources):
    state = MixtureLoader(Mixture(sources, batch_size=5)).state_dict()
    with pytest.raises(ValueError, match=r"cannot go on .*: seed was 0 and is 1, global_batch was 5 and is 6"):
        MixtureLoader(Mixture(sources, batch_size=6, seed=1)).load_state_dict(state)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"temperature": 0}, "temperature above zero"),
        ({"batch_size": 0}, "batch size of one or more"),
        ({"rank": 2, "world_size": 2}, "rank below the world size"),
        ({"weights": {"long": 1}}, "a weight above zero for each of long, short"),
        ({"batches_per_epoch": 1}, "at least one batch an epoch for each of 2 sources"),
    ],
)
def test_wrong_arguments_get_a_sentence(sources, arguments, says):
    with pytest.raises(ValueError, match=says):
        Mixture(sources, **arguments)
    with pytest.raises(ValueError, match="one source or more"):
        Mixture({})


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_ordered_shows_every_sample_once(sources, ranks):
    seen = [b for r in range(ranks) for b in ordered(sources["long"], 16, rank=r, world_size=ranks)]
    assert account(seen)["long"] == dict.fromkeys(range(105), 1)
    leads = {tuple(s) for b in seen for s in b.samples.tolist()}
    assert leads == {tuple(s) for b in ordered(sources["long"], 105) for s in b.samples.tolist()}


def test_the_loader_of_torch_can_pin_and_collate_nothing(sources):
    loader = MixtureLoader(Mixture(sources, batch_size=5))
    assert len(loader) == 27
    assert isinstance(next(iter(loader)).x, torch.Tensor)
    assert np.isfinite(next(iter(loader)).x.numpy()).all()
