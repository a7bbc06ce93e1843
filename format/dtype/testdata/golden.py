"""Writes golden.txt: casts of ml_dtypes 0.6.0 under numpy 2.4.6.

    pip install ml_dtypes==0.6.0 numpy==2.4.6 && python golden.py > golden.txt

Lines are "decode DTYPE bits float32-bits" and "encode DTYPE float32-bits bits",
all in hexadecimal; every NaN is written as "nan". The inputs to encode are the
midpoints of neighbouring values with one float32 step to each side (of 8-bit
dtypes all of them, of 16-bit dtypes a sample), the range limits and specials.
"""

import ml_dtypes
import numpy as np

DTYPES = {
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
    "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
    "BF16": ml_dtypes.bfloat16,
    "F16": np.float16,
}


def main():
    print(f"# ml_dtypes {ml_dtypes.__version__}, numpy {np.__version__}")
    for name, dtype in DTYPES.items():
        width = np.dtype(dtype).itemsize
        unsigned = np.dtype(f"u{width}")
        bits = np.arange(256 ** width, dtype=np.uint32).astype(unsigned)
        values = bits.view(dtype).astype(np.float32)
        with np.errstate(all="ignore"):
            finite = np.unique(values[np.isfinite(values)]).astype(np.float64)
            if width == 2:
                step = 331
                keep = np.arange(0, len(finite) - 1, step)
                bits, values = bits[::step], values[::step]
            else:
                keep = np.arange(len(finite) - 1)
            mid = ((finite[keep] + finite[keep + 1]) / 2).astype(np.float32)
            over = np.float32(finite[-1] + (finite[-1] - finite[-2]) / 2)
            special = np.array([0, -0.0, np.inf, -np.inf, np.nan, over, -over, finite[-1], finite[0], 1e-45, -1e-45, 3e38], np.float32)
            grid = np.concatenate([mid, special])
            grid = np.concatenate([grid, np.nextafter(grid, np.float32(np.inf)), np.nextafter(grid, np.float32(-np.inf))])
            coded = grid.astype(dtype)
            assert np.array_equal(coded.view(unsigned), grid.astype(np.float64).astype(dtype).view(unsigned))
        for b, v in zip(bits, values):
            print("decode", name, f"{b:x}", "nan" if np.isnan(v) else f"{v.view(np.uint32):x}")
        for x, y in zip(grid, coded):
            print("encode", name, f"{x.view(np.uint32):x}", "nan" if np.isnan(np.float32(y)) else f"{y.view(unsigned):x}")


main()
