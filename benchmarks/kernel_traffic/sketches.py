"""Pictures of ideas for docs/convolution_on_the_gpu, which no count goes into."""

from __future__ import annotations

from .svg import BLUE, FAINT, GREEN, INK, ORANGE, PAPER, QUIET, SKY, VERMILION, Drawing

__all__ = ["formats", "fragments", "implicit_gemm", "pipeline"]


def implicit_gemm() -> Drawing:
    """A window of the image is a row of A, a kernel a row of B, an output their product."""
    picture = Drawing(800, 352, "A window of the image is a row of A, a kernel a row of B")
    pixel, p, q, kernel = 18, 1, 2, 2
    left, top = 24, 64
    picture.text(left, top - 12, "image x: 6 × 6 pixels of C channels", 11, bold=True)
    for h in range(6):
        for w in range(6):
            inside = p <= h < p + 3 and q <= w < q + 3
            _square(picture, left + pixel * w, top + pixel * h, pixel, SHADES[h - p] if inside else FAINT)
    picture.text(left, top + 6 * pixel + 18, "the window (p, q) = (1, 2)", 10, QUIET)
    top = 226
    picture.text(left, top - 12, "kernel k = 2: 3 × 3 samples of C channels", 11, bold=True)
    for r in range(3):
        for s in range(3):
            _square(picture, left + pixel * s, top + pixel * r, pixel, SHADES[r])

    sample, row, left, top = 24, 14, 320, 64
    matrix = 9 * sample
    picture.text(left, top - 26, "A: a row for each window, never stored", 11, bold=True)
    picture.text(left + matrix, top - 9, "kk = (r, s, c) →", 10, QUIET, "end")
    for m in range(16):
        for kk in range(9):
            fill = SHADES[kk // 3] if m == 4 * p + q else FAINT
            picture.box(left + sample * kk, top + row * m, sample - 1, row - 1, fill)
    picture.text(left - 6, top + row * (4 * p + q) + 10, "m = 6", 10, anchor="end")

    top_b = 64 + 16 * row
    left_d = left + matrix + 56
    picture.text(left_d, top - 26, "D = A·Bᵀ: the outputs y", 11, bold=True)
    picture.text(left_d, top - 9, "k →", 10, QUIET)
    for m in range(16):
        for k in range(6):
            hit = m == 4 * p + q and k == kernel
            inside = 4 <= m < 8 and 2 <= k < 4
            fill = VERMILION if hit else ORANGE if inside else FAINT
            picture.box(left_d + sample * k, top + row * m, sample - 1, row - 1, fill)
    picture.text(left_d, top_b + 24, "A tile of D needs only", 10, QUIET)
    picture.text(left_d, top_b + 38, "its rows of A and of B.", 10, QUIET)
    picture.text(left, top_b + 24, "B = w: kernel k = 2, a row of 9·C", 11, bold=True)
    for kk in range(9):
        picture.box(left + sample * kk, top_b + 32, sample - 1, row - 1, SHADES[kk // 3])
    return picture


SHADES = (SKY, BLUE, GREEN)
"""Of the three rows of a window."""


def pipeline() -> Drawing:
    """Versions 5 and 6 in time: what is copied and what is computed."""
    picture = Drawing(800, 318, "Loading and computing in turn, and as a pipeline")
    left, step, high = 120, 54, 22
    picture.text(16, 26, "Version 5: in turn", 12, bold=True)
    for label, y in (("loads", 40), ("arithmetic", 68)):
        picture.text(left - 10, y + 15, label, 10.5, QUIET, "end")
        picture.box(left, y, 12 * step, high, FAINT)
    for tile in range(3):
        x = left + 4 * step * tile
        _bar(picture, x, 40, 3 * step, high, SKY, f"tile {tile} on its way")
        _bar(picture, x + 3 * step, 68, step, high, BLUE, f"tile {tile}")
    top = 140
    picture.text(16, top - 14, "Version 6: a ring of four", 12, bold=True)
    for stage in range(4):
        y = top + 28 * stage
        picture.text(left - 10, y + 15, f"place {stage}", 10.5, QUIET, "end")
        picture.box(left, y, 12 * step, high, FAINT)
        for tile in range(stage, 12, 4):
            asked = tile if tile > 2 else 0  # the first three at once
            steps = min(tile + 3, 12) - asked
            text = f"tile {tile} on its way" if steps > 2 else f"tile {tile}"
            _bar(picture, left + step * asked, y, steps * step, high, SKY, text)
            if tile + 3 < 12:
                _bar(picture, left + step * (tile + 3), y, step, high, BLUE, f"tile {tile}")
    y = top + 28 * 4
    picture.text(left - 10, y + 15, "arithmetic", 10.5, QUIET, "end")
    picture.box(left, y, 12 * step, high, FAINT)
    for tile in range(9):
        _bar(picture, left + step * (tile + 3), y, step, high, BLUE, f"tile {tile}")
    picture.text(left, y + 46, "time → (a sketch: nothing here is measured)", 10, QUIET)
    return picture


def fragments(parts: int) -> Drawing:
    """Which lane holds which number of the matrices of an mma, `parts` numbers of a register."""
    depth, cell = 8 * parts, 24
    names = {1: "mma.m16n8k8, TF32", 2: "mma.m16n8k16, 16-bit numbers"}
    width = 40 + cell * depth + 70 + cell * 8 + 30
    picture = Drawing(width, 96 + cell * (16 + depth), f"The fragments of {names[parts]}")
    left, top = 40, 76 + cell * depth
    picture.text(16, 24, names[parts], 13, bold=True)
    picture.text(16, 42, "The number in a cell is the lane that holds it;", 10, QUIET)
    picture.text(16, 56, "its colour says in which of the lane's registers.", 10, QUIET)
    picture.text(left, top - 8, f"A, 16 × {depth}", 11, bold=True)
    for row in range(16):
        for kk in range(depth):
            half, place = kk // (4 * parts), kk % (4 * parts) // parts
            lane, register = row % 8 * 4 + place, row // 8 + 2 * half
            _numbered(picture, left + cell * kk, top + cell * row, cell, lane, REGISTERS[register])
    left_d = left + cell * depth + 70
    picture.text(left_d, top - cell * depth - 8 - 18, f"B, {depth} × 8", 11, bold=True)
    for column in range(8):
        for kk in range(depth):
            half, place = kk // (4 * parts), kk % (4 * parts) // parts
            y = top - cell * (depth - kk) - 18
            _numbered(picture, left_d + cell * column, y, cell, column * 4 + place, REGISTERS[half])
    for row in range(16):
        for column in range(8):
            lane, register = row % 8 * 4 + column // 2, row // 8 * 2 + column % 2
            _numbered(picture, left_d + cell * column, top + cell * row, cell, lane, REGISTERS[register])
    picture.text(left_d - 10, top + 14, "D", 11, anchor="end", bold=True)
    x = 40
    for register, colour in enumerate(REGISTERS):
        picture.box(x, 66, 10, 10, colour)
        picture.text(x + 14, 75, str(register), 10, QUIET)
        x += 34
    return picture


RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
REGISTERS = ("#8fcbef", "#f3cd7a", "#7fcbb5", "#eba57d")
"""Light enough to be written on."""


def formats() -> Drawing:
    """The bits of four formats."""
    picture = Drawing(860, 190, "The bits of float, TF32, float16 and bfloat16: sign, exponent, mantissa")
    rows = (("float", 8, 23, 32), ("TF32", 8, 10, 32), ("float16", 5, 10, 16), ("bfloat16", 8, 7, 16))
    for i, (name, exponent, mantissa, stored) in enumerate(rows):
        left, y, bit = 96, 40 + 34 * i, 15
        picture.text(left - 10, y + 15, name, 12, anchor="end", bold=True)
        for at in range(stored):
            kind = 0 if at == 0 else 1 if at <= exponent else 2 if at <= exponent + mantissa else 3
            picture.box(left + bit * at, y, bit - 1, 20, (VERMILION, ORANGE, SKY, FAINT)[kind])
        digits = (
            f"{stored // 8} bytes, rounded by at most 2{str(-mantissa - 1).translate(RAISED)} of the number"
        )
        picture.text(left + bit * stored + 12, y + 15, digits, 10.5, QUIET)
    legend = (("sign", VERMILION), ("exponent", ORANGE), ("mantissa", SKY), ("unused", FAINT))
    for i, (text, colour) in enumerate(legend):
        picture.box(96 + 90 * i, 16, 10, 10, colour)
        picture.text(110 + 90 * i, 25, text, 10, QUIET)
    return picture


def _square(picture: Drawing, x: float, y: float, side: float, fill: str) -> None:
    picture.box(x, y, side - 1, side - 1, fill)


def _numbered(picture: Drawing, x: float, y: float, cell: float, number: int, fill: str) -> None:
    picture.box(x, y, cell - 1, cell - 1, fill)
    picture.text(x + (cell - 1) / 2, y + cell / 2 + 3, str(number), 9, INK, "middle")


def _bar(picture: Drawing, x: float, y: float, width: float, height: float, fill: str, text: str) -> None:
    picture.box(x + 0.5, y, width - 1, height, fill, PAPER)
    colour = "white" if fill == BLUE else INK
    picture.text(x + width / 2, y + height / 2 + 3.5, text, 9.5, colour, "middle")
