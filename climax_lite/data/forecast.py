"""From a record of the weather to pairs of an initial state and what came after it."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr


def valid_at(ds: xr.Dataset, initial_times: Any, lead_hours: float) -> xr.Dataset:
    """The state `lead_hours` after each initial time, labelled by the initial time, so that forecasts and truth line up.

    Args:
        ds: a record with a `time` coordinate.
        initial_times: times (T,) of the record.
        lead_hours: lead time in hours.

    Returns:
        The record at `initial_times + lead_hours`; `time` holds the initial times and `valid_time` (T,) the valid ones.

    Raises:
        ValueError: when a valid time is not in the record: the last initial times of a record have no later state to be checked against.
    """
    initial = np.atleast_1d(np.asarray(initial_times, dtype="datetime64[ns]"))
    valid = initial + np.timedelta64(round(lead_hours * 3600), "s")
    missing = ~np.isin(valid, ds["time"].values)
    if missing.any():
        last = ds["time"].values[-1] - np.timedelta64(round(lead_hours * 3600), "s")
        raise ValueError(
            f"{int(missing.sum())} of {len(initial)} valid times are not in the record, the first of them {valid[missing][0]!s:.16}: "
            f"at a lead of {lead_hours:g} h use initial times up to {last!s:.16} that lie on the record's steps"
        )
    return ds.sel(time=valid).assign_coords(time=initial, valid_time=("time", valid))
