"""The host's side of the CUDA kernels: one module beside each ``kernels/*.cu``.

Each function takes a :class:`~minicnn.backend.launch.Launcher` first, checks its arguments, chooses a version and
starts its kernels.  ``LADDER`` in each module says which versions an operation has, from the naive one to the fastest,
and which kernels each of them starts.
"""
