package dtype

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"
)

func TestTableIsComplete(t *testing.T) {
	names := map[string]bool{}
	for d := range numDTypes {
		r := dtypes[d]
		if r.name == "" || r.bits == 0 || r.max == 0 || names[r.name] {
			t.Errorf("dtype %d: incomplete row %q of %d bits up to %v", d, r.name, r.bits, r.max)
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
		if d.Float() && (r.layout.width*8 != r.bits || define(r.layout, r.layout.max) != r.max) {
			t.Errorf("%v: layout of %d bytes up to %v, row of %d bits up to %v", d, r.layout.width, define(r.layout, r.layout.max), r.bits, r.max)
		}
		if want := map[bool]DType{true: F32, false: F64}[d.Float() && d != F32 && d != F64]; d.Working() != want {
			t.Errorf("%v: Working() = %v, want %v", d, d.Working(), want)
		}
	}
	// The names of the enum of safetensors 0.8.
	spelt := "BOOL F4 F6_E2M3 F6_E3M2 U8 I8 F8_E5M2 F8_E4M3 F8_E8M0 F8_E4M3FNUZ F8_E5M2FNUZ I16 U16 F16 BF16 I32 U32 F32 C64 F64 I64 U64"
	for i, name := range strings.Fields(spelt) {
		if DType(i) >= numDTypes || DType(i).String() != name {
			t.Errorf("dtype %d is not %s", i, name)
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

func fileBytes(d DType, bits uint64) []byte {
	b := make([]byte, d.Bits()/8)
	for i := range b {
		b[i] = byte(bits >> (8 * i))
	}
	return b
}

// decodeOne decodes one value by both codecs, which must agree.
func decodeOne(t *testing.T, d DType, bits uint64) float64 {
	t.Helper()
	f64, f32 := make([]float64, 1), make([]float32, 1)
	d.Decode64(f64, fileBytes(d, bits))
	d.Decode32(f32, fileBytes(d, bits))
	if math.Float64bits(f64[0]) != math.Float64bits(wide(f32[0])) {
		t.Fatalf("%v %#x: Decode64 = %v, Decode32 = %v", d, bits, f64[0], f32[0])
	}
	return f64[0]
}

func encodeOne(d DType, x float64) uint64 {
	b := make([]byte, d.Bits()/8)
	d.Encode64(b, []float64{x})
	return d.Bits64(b, 0)
}

// TestMidpoints encodes every midpoint of neighbours and what lies one step of
// float64, or of float32, to its sides.
func TestMidpoints(t *testing.T) {
	for _, d := range narrowTypes {
		testMidpoints(t, d, dtypes[d].encode64, math.Nextafter)
		testMidpoints(t, d, dtypes[d].encode32, math.Nextafter32)
	}
}

func testMidpoints[T float32 | float64](t *testing.T, d DType, encode func(*kernels, []byte, []T), next func(x, y T) T) {
	t.Helper()
	l := dtypes[d].layout
	var src []T
	var want []byte
	add := func(x T, magnitude uint64) {
		src = append(src, x, -x)
		want = append(want, fileBytes(d, magnitude)...)
		if !l.fnuz || magnitude != 0 {
			magnitude |= l.sign
		}
		want = append(want, fileBytes(d, magnitude)...)
	}
	for bits := range l.max {
		low, high := T(define(l, bits)), T(define(l, bits+1))
		mid := low + (high-low)/2
		add(mid, bits+bits&1)
		add(next(mid, 0), bits)
		add(next(mid, high), bits+1)
		add(next(low, high), bits)
		add(next(high, 0), bits+1)
	}
	for _, k := range all() {
		got := make([]byte, len(want))
		encode(k, got, src)
		for i, x := range src {
			if g, w := d.Bits64(got, i), d.Bits64(want, i); g != w {
				t.Fatalf("%s %v: %x (%T) encodes to %#x, want %#x", k.name, d, x, x, g, w)
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

// TestMaxFinite reads the largest pattern of the integers.
func TestMaxFinite(t *testing.T) {
	for _, d := range []DType{U8, I8, U16, I16, U32, I32, U64, I64} {
		b := bytes.Repeat([]byte{0xff}, d.Bits()/8)
		if d.String()[0] == 'I' {
			b[len(b)-1] = 0x7f
		}
		x := make([]float64, 1)
		if d.Decode64(x, b); x[0] != d.MaxFinite() {
			t.Errorf("%v: largest is %v, MaxFinite() = %v", d, x[0], d.MaxFinite())
		}
	}
}

func TestPanics(t *testing.T) {
	for name, f := range map[string]func(){
		"short source":      func() { BF16.Decode32(make([]float32, 2), make([]byte, 3)) },
		"long source":       func() { F64.Decode64(make([]float64, 1), make([]byte, 16)) },
		"short destination": func() { F32.Encode32(make([]byte, 4), make([]float32, 2)) },
		"opaque":            func() { F4.Decode64(make([]float64, 2), make([]byte, 1)) },
		"integer":           func() { I8.Encode64(make([]byte, 1), make([]float64, 1)) },
		"ordinal":           func() { U8.Ordinal(1) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}

func Example() {
	d, _ := Parse("BF16")
	b := make([]byte, 2)
	d.Encode64(b, []float64{1 + 0x1p-8}) // between two values, a tie
	fmt.Println(d, d.Bits(), d.Bits64(b, 0) == 0x3f80)
	// Output: BF16 16 true
}
