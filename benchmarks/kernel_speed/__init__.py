"""What gpu_ladder.py is made of.

plan.py         rows in their order, and the budget
layers.py       the networks' layers
operations.py   of each operation the arrays, the versions, what is right; bench.py: what they are made from
oracles.py      the definitions in float64, for NumPy and CuPy alike
peers.py        PyTorch's way to the same
rows.py         comparing, and what a time means
timing.py       the clock and the turns
hardware.py     the GPU; emulator.py: the tests' emulator in its place
worker.py       the process that uses the GPU
report.py       what a record says
"""
