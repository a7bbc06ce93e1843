package dtype

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

func TestTableIsComplete(t *testing.T) {
	names := map[string]bool{}
	for d := range numDTypes {
		r := dtypes[d]
		if r.name == "" || r.bits == 0 || names[r.name] {
			t.Errorf("dtype %d: incomplete row %q of %d bits", d, r.name, r.bits)
		}
		names[r.name] = true
		got, ok := Parse(r.name)
		if !ok || got != d {
			t.Errorf("Parse(%q) = %v, %v", r.name, got, ok)
		}
		whole := r.decode32 != nil && r.encode32 != nil && r.decode64 != nil && r.encode64 != nil
		if d.Float() != whole {
			t.Errorf("%v: a float dtype has all four codecs, others lack some", d)
		}
		if d.Float() && r.layout.width*8 != r.bits {
			t.Errorf("%v: layout of %d bytes, row of %d bits", d, r.layout.width, r.bits)
		}
	}
	if len(names) != 22 {
		t.Errorf("%d dtypes, want 22", len(names))
	}
	if _, ok := Parse("bf16"); ok {
		t.Error("Parse is not exact in case")
	}
}

func TestNearest(t *testing.T) {
	for wrong, want := range map[string]string{"bf16": "BF16", "bfloat16": "BF16", "F8_E4M3FN": "F8_E4M3", "float32": "F32", "FP16": "F16"} {
		if got := Nearest(wrong); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", wrong, got, want)
		}
	}
}

// narrowTypes are the dtypes small enough to try every value.
var narrowTypes = []DType{F16, BF16, F8_E4M3, F8_E5M2, F8_E4M3FNUZ, F8_E5M2FNUZ}

func bytesOf(d DType, bits uint64) []byte {
	b := make([]byte, d.Bits()/8)
	for i := range b {
		b[i] = byte(bits >> (8 * i))
	}
	return b
}

// scalar decodes and encodes one value by all codecs and fails where they
// disagree.
func decodeOne(t *testing.T, d DType, bits uint64) float64 {
	t.Helper()
	var x [1]float64
	var f [1]float32
	d.Decode64(x[:], bytesOf(d, bits))
	d.Decode32(f[:], bytesOf(d, bits))
	want := dtypes[d].layout.value(bits)
	if math.Float64bits(x[0]) != math.Float64bits(want) && want == want || want != want != (x[0] != x[0]) {
		t.Fatalf("%v %#x: Decode64 = %v, want %v", d, bits, x[0], want)
	}
	if float64(f[0]) != want && want == want {
		t.Fatalf("%v %#x: Decode32 = %v, want %v", d, bits, f[0], want)
	}
	return x[0]
}

func encodeOne(d DType, x float64) uint64 {
	b := make([]byte, d.Bits()/8)
	d.Encode64(b, []float64{x})
	return d.Bits64(b, 0)
}

func TestEveryNarrowValue(t *testing.T) {
	for _, d := range narrowTypes {
		l := dtypes[d].layout
		for bits := range uint64(1) << d.Bits() {
			x := decodeOne(t, d, bits)
			got := encodeOne(d, x)
			if x != x {
				if got != l.nan {
					t.Fatalf("%v: NaN %#x encodes to %#x, want %#x", d, bits, got, l.nan)
				}
				continue
			}
			if got != bits {
				t.Fatalf("%v: %#x decodes to %v, encodes to %#x", d, bits, x, got)
			}
			b := make([]byte, d.Bits()/8)
			d.Encode32(b, []float32{float32(x)})
			if got := d.Bits64(b, 0); got != bits {
				t.Fatalf("%v: Encode32(%v) = %#x, want %#x", d, x, got, bits)
			}
			if d.FromOrdinal(d.Ordinal(bits)) != bits {
				t.Fatalf("%v: ordinal of %#x does not invert", d, bits)
			}
		}
	}
}

// TestMidpoints tries every midpoint of neighbours and what lies one float64
// step to its sides.
func TestMidpoints(t *testing.T) {
	for _, d := range narrowTypes {
		l := dtypes[d].layout
		for bits := range l.max {
			low, high := l.value(bits), l.value(bits+1)
			mid := low + (high-low)/2
			even := bits + bits&1
			for _, c := range []struct {
				x    float64
				want uint64
			}{
				{mid, even}, {math.Nextafter(mid, 0), bits}, {math.Nextafter(mid, math.Inf(1)), bits + 1},
				{math.Nextafter(low, math.Inf(1)), bits}, {math.Nextafter(high, 0), bits + 1},
			} {
				for _, sign := range []float64{1, -1} {
					want := l.signed(c.want, math.Float64bits(sign*c.x))
					if got := encodeOne(d, sign*c.x); got != want {
						t.Fatalf("%v: Encode64(%b) = %#x, want %#x", d, sign*c.x, got, want)
					}
				}
			}
		}
	}
}

func TestOverflow(t *testing.T) {
	for _, c := range []struct {
		d        DType
		max, tie float64
		over     uint64
	}{
		{F8_E4M3, 448, 464, 0x7f}, {F8_E5M2, 57344, 61440, 0x7c}, {F8_E4M3FNUZ, 240, 248, 0x80}, {F8_E5M2FNUZ, 57344, 61440, 0x80},
		{F16, 65504, 65520, 0x7c00}, {BF16, 0x1.fep127, 0x1.ffp127, 0x7f80},
	} {
		if got := c.d.MaxFinite(); got != c.max {
			t.Errorf("%v.MaxFinite() = %v, want %v", c.d, got, c.max)
		}
		if got := encodeOne(c.d, math.Nextafter(c.tie, 0)); got != dtypes[c.d].layout.max {
			t.Errorf("%v: just below %v = %#x, want the largest finite value", c.d, c.tie, got)
		}
		for _, x := range []float64{math.Nextafter(c.tie, math.Inf(1)), 1e300, math.Inf(1)} {
			if got := encodeOne(c.d, x); got != c.over {
				t.Errorf("%v: %v = %#x, want %#x", c.d, x, got, c.over)
			}
		}
	}
}

// TestRandom holds the fast codecs against the layout on random bit patterns
// of float32 and float64.
func TestRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for d := range numDTypes {
		if !d.Float() {
			continue
		}
		l := dtypes[d].layout
		for range 200_000 {
			x := math.Float64frombits(r.Uint64())
			if r.IntN(2) == 0 {
				x = float64(math.Float32frombits(r.Uint32()))
			}
			if r.IntN(3) == 0 {
				x = r.NormFloat64() * math.Exp2(float64(r.IntN(60)-40))
			}
			want := l.round(x)
			if d == F64 || x != x {
				continue // NaN payloads pass through
			}
			if got := encodeOne(d, x); got != want {
				t.Fatalf("%v: Encode64(%b) = %#x, want %#x", d, x, got, want)
			}
			low, high, lowBits, highBits := d.Neighbours(x)
			if x != x || math.IsInf(x, 0) {
				continue
			}
			if l.value(lowBits) != low || l.value(highBits) != high || low > high {
				t.Fatalf("%v: Neighbours(%b) = %v %v %#x %#x", d, x, low, high, lowBits, highBits)
			}
			if max := d.MaxFinite(); math.Abs(x) <= max && (x < low || x > high || want != lowBits && want != highBits && low != 0) {
				t.Fatalf("%v: Neighbours(%b) = %v %v do not enclose it", d, x, low, high)
			}
			if low != high && d.Ordinal(highBits)-d.Ordinal(lowBits) != 1 && low != 0 && high != 0 {
				t.Fatalf("%v: Neighbours(%b) = %#x %#x are not adjacent", d, x, lowBits, highBits)
			}
		}
	}
}

func TestIntegers(t *testing.T) {
	for _, c := range []struct {
		d    DType
		b    []byte
		want float64
	}{
		{I8, []byte{0xff}, -1}, {U8, []byte{0xff}, 255}, {I16, []byte{0, 0x80}, -32768}, {U16, []byte{1, 2}, 513},
		{I32, []byte{0xfe, 0xff, 0xff, 0xff}, -2}, {I64, []byte{1, 0, 0, 0, 0, 0, 0, 0}, 1}, {BOOL, []byte{1}, 1}, {F8_E8M0, []byte{128}, 2},
	} {
		var x [1]float64
		c.d.Decode64(x[:], c.b)
		if x[0] != c.want {
			t.Errorf("%v %x = %v, want %v", c.d, c.b, x[0], c.want)
		}
	}
}

func Example() {
	d, _ := Parse("BF16")
	b := make([]byte, 2)
	d.Encode64(b, []float64{1 + 0x1p-8}) // between two values, a tie
	fmt.Println(d, d.Bits(), d.Bits64(b, 0) == 0x3f80)
	// Output: BF16 16 true
}

func BenchmarkCodecs(b *testing.B) {
	const n = 1024
	f32, f64 := make([]float32, n), make([]float64, n)
	for i := range f32 {
		f32[i] = float32(i)*0.001 - 0.5
		f64[i] = float64(f32[i])
	}
	for _, d := range []DType{BF16, F16, F32, F8_E4M3} {
		raw := make([]byte, n*d.Bits()/8)
		d.Encode32(raw, f32)
		for _, c := range []struct {
			name string
			run  func()
		}{
			{"Decode32", func() { d.Decode32(f32, raw) }}, {"Encode32", func() { d.Encode32(raw, f32) }},
			{"Decode64", func() { d.Decode64(f64, raw) }}, {"Encode64", func() { d.Encode64(raw, f64) }},
		} {
			b.Run(fmt.Sprintf("%v/%s", d, c.name), func(b *testing.B) {
				b.SetBytes(int64(len(raw)))
				for b.Loop() {
					c.run()
				}
			})
		}
	}
}
