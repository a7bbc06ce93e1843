"""What the checks of this folder hold loratool against: PEFT's merge carried
out in float64, and one rounding of it to nearest even."""
import json, os

import numpy as np
import torch
from safetensors.torch import load_file

# Adding in float64 what PEFT adds is off by some units in the last place of
# the largest part; a value nearer than this to the middle of two neighbours,
# relative to the largest part, may go either way.
UNSURE = 1e-14


def tensors_of(path):
    """All tensors of a safetensors file or of a folder of them."""
    if os.path.isfile(path):
        return load_file(path)
    found = {}
    for f in sorted(os.listdir(path)):
        if f.endswith(".safetensors"):
            found.update(load_file(f"{path}/{f}"))
    return found


_tables = {}


def _table(dtype):
    """Every finite value of an 8- or 16-bit dtype in order, as float64, with
    its bits; −0 is left out."""
    if dtype not in _tables:
        bits = 8 * dtype.itemsize
        codes = torch.arange(1 << bits, dtype=torch.int32).to(torch.int16 if bits == 16 else torch.uint8)
        values = codes.view(dtype).double().numpy()
        keep = np.isfinite(values) & ~((values == 0) & np.signbit(values))
        order = np.argsort(values[keep], kind="stable")
        _tables[dtype] = values[keep][order], np.arange(1 << bits)[keep][order]
    return _tables[dtype]


def round_once(x, dtype):
    """A float64 tensor to dtype, to nearest, ties to even; also the distance
    of each value from the nearest middle of two neighbours."""
    x = x.detach().cpu().numpy().astype(np.float64)
    if dtype == torch.float64:
        return torch.from_numpy(x), np.full(x.shape, np.inf)
    if dtype == torch.float32:
        y = x.astype(np.float32)
        step = np.where(y > x, np.nextafter(y, -np.inf, dtype=np.float32), np.nextafter(y, np.inf, dtype=np.float32))
        return torch.from_numpy(y), np.abs(x - (y.astype(np.float64) + step.astype(np.float64)) / 2)
    values, codes = _table(dtype)
    high = np.clip(np.searchsorted(values, x), 1, len(values) - 1)
    low = high - 1
    up, down = values[high] - x, x - values[low]  # exact: neighbours are close
    take = np.where((up < down) | (up == down) & (codes[high] & 1 == 0), high, low)
    bits = codes[take]
    bits = np.where((values[take] == 0) & np.signbit(x), bits | 1 << (8 * dtype.itemsize - 1), bits)
    out = torch.from_numpy(bits.astype(np.int32)).to(torch.int16 if dtype.itemsize == 2 else torch.uint8)
    return out.view(dtype).reshape(x.shape), np.abs(up - down) / 2


def sure(x, distance, scale=1.0):
    """Whether float64 tells the rounding of each value: x is what was rounded,
    distance how far it is from a middle, scale the size of what was added."""
    return distance > UNSURE * np.maximum(np.abs(x.detach().cpu().numpy()), scale)


def same_bits(a, b):
    return a.shape == b.shape and a.dtype == b.dtype and torch.equal(
        a.contiguous().reshape(-1).view(torch.uint8), b.contiguous().reshape(-1).view(torch.uint8))


def compare(ours, exact):
    """Says how a merged tensor differs from the exact values, "" if not at all.
    An element that float64 cannot tell may be either neighbour."""
    if not ours.dtype.is_floating_point:
        return "" if same_bits(ours, exact.to(ours.dtype)) else "differs"
    if ours.shape != exact.shape:
        return f"shape {list(ours.shape)}, expected {list(exact.shape)}"
    if ours.dtype == torch.float64:  # the oracle itself is not exact
        off = (ours - exact).abs() > UNSURE * exact.abs().clamp_min(1.0)
        return f"{int(off.sum())} of {off.numel()} differ, at most {(ours - exact).abs().max().item():.3g}" if off.any() else ""
    want, distance = round_once(exact, ours.dtype)
    wrong = (ours.double() != want.double()).numpy() & ~(torch.isnan(ours.double()) & torch.isnan(want.double())).numpy()
    wrong &= sure(exact, distance, 1e-3)
    if not wrong.any():
        return ""
    worst = (ours.double() - want.double()).abs().max().item()
    return f"{int(wrong.sum())} of {wrong.size} differ, at most {worst:.3g}"


def read_config(path):
    return json.load(open(f"{path}/config.json"))
