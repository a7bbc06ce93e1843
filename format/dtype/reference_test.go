package dtype

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// define is the definition of a value that layout.value is tested against.
func define(l *layout, bits uint64) float64 {
	magnitude := bits &^ l.sign
	x := math.NaN()
	switch {
	case l.fnuz && bits == l.nan:
	case magnitude <= l.max:
		x = math.Ldexp(float64(magnitude), l.emin-l.mantissa)
		if exponent := int(magnitude >> l.mantissa); exponent > 0 {
			m := magnitude&(1<<l.mantissa-1) | 1<<l.mantissa
			x = math.Ldexp(float64(m), exponent-1+l.emin-l.mantissa)
		}
	case magnitude == l.overflow && l.overflow != l.nan:
		x = math.Inf(1)
	}
	if bits&l.sign != 0 {
		x = -x
	}
	return x
}

// below returns, by bisection, the greatest magnitude whose value is at most
// |x|, for finite x.
func below(l *layout, x float64) uint64 {
	low, high := uint64(0), l.max+1
	for high-low > 1 {
		if mid := low + (high-low)/2; define(l, mid) <= math.Abs(x) {
			low = mid
		} else {
			high = mid
		}
	}
	return low
}

// defineRound is the definition of rounding: the nearer of the two values that
// enclose x, in exact arithmetic, or the even one; past the largest value
// stands the one that would come next.
func defineRound(l *layout, x float64) uint64 {
	if x != x {
		return l.nan
	}
	magnitude := l.overflow
	if !math.IsInf(x, 0) {
		magnitude = below(l, x)
		a := new(big.Float).SetPrec(2200).SetFloat64(math.Abs(x))
		low := new(big.Float).SetPrec(2200).SetFloat64(define(l, magnitude))
		var high *big.Float
		if magnitude < l.max {
			high = new(big.Float).SetPrec(2200).SetFloat64(define(l, magnitude+1))
		} else {
			step := new(big.Float).SetFloat64(define(l, l.max) - define(l, l.max-1))
			high = new(big.Float).SetPrec(2200).Add(low, step)
		}
		switch twice := a.Add(a, a); twice.Cmp(low.Add(low, high)) {
		case 1:
			magnitude++
		case 0:
			magnitude += magnitude & 1
		}
	}
	if magnitude > l.max {
		magnitude = l.overflow
	}
	if !math.Signbit(x) || l.fnuz && (magnitude == 0 || magnitude == l.nan) {
		return magnitude
	}
	return magnitude | l.sign
}

// sample returns a float64 of one of several kinds, often near a value of d or
// a midpoint.
func sample(r *rand.Rand, l *layout) float64 {
	switch r.IntN(5) {
	case 0:
		return math.Float64frombits(r.Uint64())
	case 1:
		return float64(math.Float32frombits(r.Uint32()))
	case 2:
		return r.NormFloat64() * math.Exp2(float64(r.IntN(60)-40))
	}
	bits := r.Uint64N(l.max)
	if r.IntN(2) == 0 {
		bits = r.Uint64N(min(l.max, 8<<l.mantissa)) // small
	}
	low, high := define(l, bits), define(l, bits+1)
	x := low + (high-low)*[]float64{0, 0.25, 0.5, 1}[r.IntN(4)]
	x = math.Nextafter(x, []float64{0, x, math.Inf(1)}[r.IntN(3)])
	return math.Copysign(x, r.Float64()-0.5)
}

var floats = []DType{F16, BF16, F32, F64, F8_E4M3, F8_E5M2, F8_E4M3FNUZ, F8_E5M2FNUZ}

// TestRandom holds rounding and neighbours against their definitions.
func TestRandom(t *testing.T) {
	for _, d := range floats {
		r := rand.New(rand.NewPCG(1, uint64(d)))
		l := dtypes[d].layout
		for range 30_000 {
			x := sample(r, l)
			if want := defineRound(l, x); x == x || d != F64 {
				if got := encodeOne(d, x); got != want {
					t.Fatalf("%v: Encode64(%x) = %#x, want %#x", d, x, got, want)
				}
			}
			if y := float32(x); y == y || d != F32 {
				want := defineRound(l, float64(y))
				b := make([]byte, d.Bits()/8)
				d.Encode32(b, []float32{y})
				if got := d.Bits64(b, 0); got != want && (y == y || d != F64) {
					t.Fatalf("%v: Encode32(%x) = %#x, want %#x", d, y, got, want)
				}
			}
			checkNeighbours(t, d, x)
		}
	}
}

func checkNeighbours(t *testing.T, d DType, x float64) {
	t.Helper()
	l := dtypes[d].layout
	low, high, lowBits, highBits := d.Neighbours(x)
	if define(l, lowBits) != low && low == low || define(l, highBits) != high && high == high {
		t.Fatalf("%v: Neighbours(%x) = %x %x %#x %#x: values and bits differ", d, x, low, high, lowBits, highBits)
	}
	if math.IsNaN(x) || math.IsInf(x, 0) {
		if lowBits != highBits || lowBits != defineRound(l, x) {
			t.Fatalf("%v: Neighbours(%v) = %#x %#x", d, x, lowBits, highBits)
		}
		return
	}
	inner := below(l, x)
	outer := inner
	if define(l, inner) != math.Abs(x) && inner != l.max {
		outer++
	}
	wantLow, wantHigh := define(l, inner), define(l, outer)
	if math.Signbit(x) {
		wantLow, wantHigh = -wantHigh, -wantLow
	}
	if low != wantLow || high != wantHigh {
		t.Fatalf("%v: Neighbours(%x) = %x %x, want %x %x", d, x, low, high, wantLow, wantHigh)
	}
	if math.Signbit(x) != (lowBits&l.sign != 0) && low != 0 || math.Signbit(x) != (highBits&l.sign != 0) && !(l.fnuz && high == 0) {
		t.Fatalf("%v: Neighbours(%x) = %#x %#x: signs", d, x, lowBits, highBits)
	}
}

// TestEveryValue compares value and the ordinals of the narrow dtypes with
// their definitions, and both ways of decoding and encoding.
func TestEveryValue(t *testing.T) {
	for _, d := range narrowTypes {
		l := dtypes[d].layout
		for bits := range uint64(1) << d.Bits() {
			want := define(l, bits)
			if got := decodeOne(t, d, bits); got != want && want == want {
				t.Fatalf("%v: %#x decodes to %v, want %v", d, bits, got, want)
			}
			code := bits
			if want != want {
				code = l.nan
			}
			if got := encodeOne(d, want); got != code {
				t.Fatalf("%v: Encode64(%v) = %#x, want %#x", d, want, got, code)
			}
			b := make([]byte, d.Bits()/8)
			if d.Encode32(b, []float32{float32(want)}); d.Bits64(b, 0) != code {
				t.Fatalf("%v: Encode32(%v) = %x, want %#x", d, want, b, code)
			}
			n := d.Ordinal(bits)
			if d.FromOrdinal(n) != bits {
				t.Fatalf("%v: ordinal %d of %#x does not invert", d, n, bits)
			}
			if next := define(l, d.FromOrdinal(n+1)); n+1 < 1<<(d.Bits()-1) && next < want {
				t.Fatalf("%v: ordinals %d and %d hold %v and %v", d, n, n+1, want, next)
			}
		}
	}
}

func TestOrdinalEnds(t *testing.T) {
	for _, d := range floats {
		sign := uint64(1) << (d.Bits() - 1)
		for bits, want := range map[uint64]int64{0: 0, 1: 1, sign: -1, sign | 1: -2, sign - 1: int64(sign - 1), sign | (sign - 1): -int64(sign-1) - 1} {
			if got := d.Ordinal(bits); got != want || d.FromOrdinal(got) != bits {
				t.Errorf("%v: Ordinal(%#x) = %d, want %d; back %#x", d, bits, got, want, d.FromOrdinal(got))
			}
		}
	}
}

// FuzzRound rounds any float64 to every dtype.
func FuzzRound(f *testing.F) {
	for _, x := range []float64{0, 464, 248, 61440, 65520, 0x1.ffp127, 0x1p-150, 0x1p-1074, math.Inf(-1)} {
		f.Add(math.Float64bits(x))
	}
	f.Fuzz(func(t *testing.T, bits uint64) {
		x := math.Float64frombits(bits)
		for _, d := range floats {
			if got, want := encodeOne(d, x), defineRound(dtypes[d].layout, x); got != want && (x == x || d != F64) {
				t.Errorf("%v: Encode64(%x) = %#x, want %#x", d, x, got, want)
			}
			checkNeighbours(t, d, x)
		}
	})
}
