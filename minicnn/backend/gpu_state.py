"""What a GPU user has, and what is missing."""


def require() -> None:
    """Raise RuntimeError if the cuda device cannot work here."""
    try:
        import cupy
    except ImportError as error:
        raise RuntimeError("cuda: CuPy is not installed; install minicnn[cuda12] or minicnn[cuda13]") from error
    if not cupy.cuda.is_available():
        raise RuntimeError("cuda: CuPy finds no GPU it can use; is there one, and NVIDIA's driver for it?")
