"""What gpu_suite.py is made of.

tasks.py        rows in their order
subjects.py     a network's weights, images and labels, the same for all
own.py          minicnn's network; pytorch.py: PyTorch's
rows.py         what the GPU's process does for a row
networks.py     a network's row: answers, memory, times; epoch.py: LeNet-5's epoch
checks.py       an operation beside float64; launches.py: what its call costs Python
trials.py       what becomes of each candidate of a row
commands.py     programs run beside the suite, each within its time
tests.py        the tests on the real device; only_cuda.py: which of them, and how each ended
sanitizer.py    compute-sanitizer over sanitized.py, which runs small cases of every kernel
report.py       what a record says; charts.py: drawn
"""
