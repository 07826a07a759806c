"""Work cut small, so that the smallest case runs through many chunks, blocks and tasks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

SIZES = {
    "minicnn.conv.im2col": {"COPY_BYTES": 1, "SHARED": 1, "PART": 2, "PARTS": 3},
    "minicnn.conv.im2col_chunked": {
        "CHUNK_BYTES": 1,
        "SAMPLE_BYTES": 1,
        "PRODUCT_ROWS": 3,
        "SUM_ROWS": 2,
        "SHARED": 1,
        "LANES": 3,
    },
    "minicnn.conv.per_offset": {"ROWS": 5, "SHARED": 1, "FEWEST_ROWS": 1, "NARROWEST": 1, "LANES": 3},
    "minicnn.conv.toeplitz": {"IMAGES": 1, "STRIP_BYTES": 1, "COLUMN_BYTES": 1, "FOLD_BYTES": 1, "LANES": 3},
    "minicnn.conv.fft_tiles": {"LEAST_SIDE": 1, "RATIO": 1, "BLOCK_BYTES": 1},
    "minicnn.conv.fft": {"PLANES": 1},
    "minicnn.conv.winograd": {
        "PIECE_BYTES": 1,
        "CHUNK_BYTES": 1,
        "STAGE_BYTES": 1,
        "LEAST_TILES": 2,
        "CALLS": 2,
        "KERNEL_PIECE": 1,
        "CACHED_BYTES": 999,
    },
    "minicnn.backend.small_products": {"ROWS": 2, "COLUMNS": 3, "TALL": 2, "has_small_kernels": lambda: True},
    "minicnn.backend.pooling": {"PIECE_BYTES": 1},
    "minicnn.backend.elementwise": {"_PIECE": 6, "_SHARED": 1, "_LINE": 5},
    "minicnn.backend.matmul": {"_TASK": 1, "_NARROWEST": 1, "_RESULT": 2, "_LOWEST": 1, "_TERMS": 2},
    "minicnn.backend.channel_sum": {"_BLOCK": 3, "_ROW": 6},
}


@contextmanager
def small_pieces() -> Iterator[None]:
    """Let a chunk have two or three pixels, a piece of a matrix product one row, a block of a sum three."""
    with ExitStack() as stack:
        for module, sizes in SIZES.items():
            for name, size in sizes.items():
                stack.enter_context(patch(f"{module}.{name}", size))
        yield
