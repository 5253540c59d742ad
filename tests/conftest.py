"""One thread for each test process and for the kernels and notebooks that it starts: sums come out the same to the bit in all of them."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported
