"""Frames of zstd (RFC 8878) in plain Python, for check_record.py: no dictionaries, no speed, small inputs only.

Damaged finds raise ValueError or IndexError."""

import struct

LL_DEFAULT = [4, 3] + [2] * 11 + [1] * 3 + [2] * 9 + [3, 2] + [1] * 5 + [-1] * 4
ML_DEFAULT = [1, 4, 3] + [2] * 6 + [1] * 37 + [-1] * 7
OF_DEFAULT = [1] * 6 + [2] * 3 + [1] * 15 + [-1] * 5
LL_EXTRA = [0] * 16 + [1, 1, 1, 1, 2, 2, 3, 3, 4] + list(range(6, 17))
ML_EXTRA = [0] * 32 + [1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5] + list(range(7, 17))
LL_BASE, ML_BASE = [0], [3]
for extra, base in ((LL_EXTRA, LL_BASE), (ML_EXTRA, ML_BASE)):
    for n in extra[:-1]:
        base.append(base[-1] + (1 << n))
LL_BASE[25:], ML_BASE[43:] = [1 << n for n in range(6, 17)], [3 + (1 << n) for n in range(7, 17)]


class Backward:
    """A stream of bits that is read from its end; the highest bit set is a mark."""

    def __init__(self, data):
        if not data or not data[-1]:
            raise ValueError("a stream without an end")
        self.value = int.from_bytes(data, "little")
        self.left = self.value.bit_length() - 1

    def read(self, n):
        self.left -= n
        shifted = self.value >> self.left if self.left >= 0 else self.value << -self.left
        return shifted & ((1 << n) - 1)


def fse_distribution(data, most):
    """Reads a table of probabilities: 4.1.1. Returns it, its accuracy and the bytes it took."""
    value, at = int.from_bytes(data[:512], "little"), 4
    log = (value & 15) + 5
    if log > most:
        raise ValueError("accuracy")
    left, probabilities = 1 << log, []
    while left > 0:
        n = (left + 1).bit_length()
        bits, low = value >> at & ((1 << n) - 1), (1 << n - 1) - 1
        few = (1 << n) - 1 - (left + 1)
        if bits & low < few:
            bits, at = bits & low, at + n - 1
        else:
            at += n
            if bits > low:
                bits -= few
        p = bits - 1
        left -= abs(p)
        probabilities.append(p)
        while p == 0:
            again = value >> at & 3
            at += 2
            probabilities += [0] * again
            if again < 3:
                break
    if left < 0 or at > 8 * len(data) or len(probabilities) > 256:
        raise ValueError("distribution")
    return probabilities, log, (at + 7) // 8


def fse_table(probabilities, log):
    """Rows of symbol, bits to read, what to add them to."""
    size = 1 << log
    symbols, following, high = [None] * size, {}, size
    for s, p in enumerate(probabilities):
        if p == -1:
            high -= 1
            symbols[high], following[s] = s, 1
    at = 0
    for s, p in enumerate(probabilities):
        if p <= 0:
            continue
        following[s] = p
        for _ in range(p):
            symbols[at] = s
            at = (at + (size >> 1) + (size >> 3) + 3) & (size - 1)
            while at >= high:
                at = (at + (size >> 1) + (size >> 3) + 3) & (size - 1)
    rows = []
    for s in symbols:
        n = following[s]
        following[s] += 1
        bits = log - n.bit_length() + 1
        rows.append((s, bits, (n << bits) - size))
    return rows


def huffman_table(data):
    """Reads a Huffman tree description: 4.2.1. Returns a list of (symbol, bits) by the next bits, their number, and the bytes it took."""
    head = data[0]
    if head >= 128:
        n = head - 127
        weights, used = [data[1 + i // 2] >> (0 if i % 2 else 4) & 15 for i in range(n)], 1 + (n + 1) // 2
    else:
        probabilities, log, took = fse_distribution(data[1:1 + head], 6)
        weights, used = fse_weights(fse_table(probabilities, log), log, data[1 + took:1 + head]), 1 + head
    total = sum(1 << w - 1 for w in weights if w)
    if not total:
        raise ValueError("weights")
    most = total.bit_length()
    rest = (1 << most) - total
    if most > 11 or rest & rest - 1:
        raise ValueError("weights")
    weights.append(rest.bit_length())
    table = []
    for w in range(1, most + 1):
        for s, x in enumerate(weights):
            if x == w:
                table += [(s, most + 1 - w)] * (1 << w - 1)
    return table, most, used


def fse_weights(table, log, data):
    stream, weights = Backward(data), []
    states = [stream.read(log), stream.read(log)]
    if stream.left < 0:
        raise ValueError("weights")
    while len(weights) < 255:
        s, bits, base = table[states[0]]
        weights.append(s)
        states[0] = base + stream.read(bits)
        if stream.left < 0:
            weights.append(table[states[1]][0])
            return weights
        states.reverse()
    raise ValueError("weights")


def huffman_stream(data, table, most, n):
    stream, out, state = Backward(data), bytearray(), 0
    have = 0
    while len(out) < n:
        state = (state << most - have | stream.read(most - have)) & ((1 << most) - 1)
        s, bits = table[state]
        out.append(s)
        have = most - bits
    if stream.left + have != 0:
        raise ValueError("a stream of another length")
    return bytes(out)


def four_streams(data, table, most, n):
    """The jump table and the streams: 3.1.1.3.1.6."""
    sizes = list(struct.unpack("<3H", data[:6]))
    each, out, at = (n + 3) // 4, b"", 6
    sizes.append(len(data) - 6 - sum(sizes))
    if sizes[3] < 1 or n < 3 * each:
        raise ValueError("streams")
    for i, size in enumerate(sizes):
        out += huffman_stream(data[at:at + size], table, most, each if i < 3 else n - 3 * each)
        at += size
    return out


class Frame:
    def __init__(self, data, window):
        self.out, self.offsets, self.huffman, self.tables = bytearray(), [1, 4, 8], None, {}
        magic, head = struct.unpack("<IB", data[:5])
        if magic != 0xFD2FB528 or head & 8 or head & 3:
            raise ValueError("no frame")
        single, at = head >> 5 & 1, 5
        if not single:
            exponent, mantissa = data[at] >> 3, data[at] & 7
            if (1 << 10 + exponent) + (1 << 7 + exponent) * mantissa > window:
                raise ValueError("window")
            at += 1
        n = (single, 2, 4, 8)[head >> 6]
        self.size = int.from_bytes(data[at:at + n], "little") + (256 if n == 2 else 0) if n else None
        at += n
        last = False
        while not last:
            block = int.from_bytes(data[at:at + 3], "little")
            if at + 3 > len(data):
                raise ValueError("cut short")
            last, kind, size = block & 1, block >> 1 & 3, block >> 3
            at += 3
            body = data[at:at + (1 if kind == 1 else size)]
            if kind == 3 or len(body) < (1 if kind == 1 else size):
                raise ValueError("block")
            if kind == 2:
                self.compressed(body)
            else:
                self.out += body * size if kind == 1 else body
            at += len(body)
        at += 4 if head & 4 else 0
        if at != len(data) or self.size is not None and self.size != len(self.out):
            raise ValueError("length")

    def compressed(self, data):
        literals, at = self.literals(data)
        count = data[at]
        at += 1
        if count == 255:
            count, at = data[at] + (data[at + 1] << 8) + 0x7F00, at + 2
        elif count >= 128:
            count, at = (count - 128 << 8) + data[at], at + 1
        if not count:
            self.out += literals
            return
        modes = data[at]
        at += 1
        tables = []
        for shift, name, default, log, most in ((6, "ll", LL_DEFAULT, 6, 9), (4, "of", OF_DEFAULT, 5, 8), (2, "ml", ML_DEFAULT, 6, 9)):
            mode = modes >> shift & 3
            if mode == 0:
                self.tables[name] = fse_table(default, log), log
            elif mode == 1:
                self.tables[name] = [(data[at], 0, 0)], 0
                at += 1
            elif mode == 2:
                probabilities, log, used = fse_distribution(data[at:], most)
                self.tables[name] = fse_table(probabilities, log), log
                at += used
            tables.append(self.tables[name])
        self.sequences(Backward(data[at:]), count, tables, literals)

    def sequences(self, stream, count, tables, literals):
        (ll, of, ml), used = [t for t, _ in tables], 0
        states = [stream.read(log) for _, log in tables]
        for i in range(count):
            code = of[states[1]][0]
            value = (1 << code) + stream.read(code)
            m, n = ml[states[2]][0], ll[states[0]][0]
            match = ML_BASE[m] + stream.read(ML_EXTRA[m])
            length = LL_BASE[n] + stream.read(LL_EXTRA[n])
            if i + 1 < count:
                for k, t in ((0, ll), (2, ml), (1, of)):
                    _, bits, base = t[states[k]]
                    states[k] = base + stream.read(bits)
            self.out += literals[used:used + length]
            used += length
            offset = self.offset(value, length)
            if not 0 < offset <= len(self.out):
                raise ValueError("offset")
            for _ in range(match):
                self.out.append(self.out[-offset])
        if stream.left != 0 or used > len(literals):
            raise ValueError("sequences")
        self.out += literals[used:]

    def offset(self, value, length):
        o = self.offsets
        if value > 3:
            o[:] = [value - 3, o[0], o[1]]
            return o[0]
        i = value - 1 + (length == 0)
        x = o[i] if i < 3 else o[0] - 1
        if i:
            o[:] = [x, o[0], o[2] if i == 1 else o[1]]
        return x

    def literals(self, data):
        kind, form = data[0] & 3, data[0] >> 2 & 3
        if kind < 2:
            n = (1, 2, 1, 3)[form]
            size = int.from_bytes(data[:n], "little") >> (3 if n == 1 else 4)
            end = n + (size if kind == 0 else 1)
            return data[n:end] * (size if kind == 1 else 1), end
        n, bits = (3, 3, 4, 5)[form], (10, 10, 14, 18)[form]
        value = int.from_bytes(data[:n], "little") >> 4
        size, length = value & (1 << bits) - 1, value >> bits
        body = data[n:n + length]
        if kind == 2:
            *self.huffman, used = huffman_table(body)
            body = body[used:]
        table, most = self.huffman
        return (four_streams if form else huffman_stream)(body, table, most, size), n + length


def decompress(data, window=16 << 20):
    """Returns what a frame holds, of which nothing may follow."""
    try:
        return bytes(Frame(data, window).out)
    except (IndexError, TypeError, struct.error) as e:
        raise ValueError(str(e))
