"""Make the simulated worlds: `python -m tools.simulate --help`. Needs the extra `simulate`; reading the data does not."""
