package dtype

import (
	"bufio"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
)

// TestGolden compares both codecs of every implementation with the casts of
// ml_dtypes in testdata.
func TestGolden(t *testing.T) {
	f, err := os.Open("testdata/golden.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := 0
	for s := bufio.NewScanner(f); s.Scan(); {
		if strings.HasPrefix(s.Text(), "#") {
			continue
		}
		fields := strings.Fields(s.Text())
		d, ok := Parse(fields[1])
		if len(fields) != 4 || !ok {
			t.Fatalf("bad line %q", s.Text())
		}
		in := golden(t, fields[2])
		if fields[2] == "nan" {
			in = 0x7fc00000
		}
		for _, k := range all() {
			if fields[0] == "decode" {
				goldenDecode(t, k, d, in, fields[3])
			} else {
				goldenEncode(t, k, d, math.Float32frombits(uint32(in)), fields[3])
			}
		}
		lines++
	}
	if lines < 5000 {
		t.Errorf("only %d lines", lines)
	}
}

func golden(t *testing.T, hex string) uint64 {
	t.Helper()
	if hex == "nan" {
		return 0
	}
	u, err := strconv.ParseUint(hex, 16, 32)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func goldenDecode(t *testing.T, k *kernels, d DType, bits uint64, want string) {
	t.Helper()
	w := d.Bits() / 8
	src := make([]byte, block*w)
	for i := range block {
		copy(src[i*w:], fileBytes(d, bits))
	}
	f32, f64 := make([]float32, block), make([]float64, block)
	dtypes[d].decode32(k, f32, src)
	dtypes[d].decode64(k, f64, src)
	for i := range block {
		if isNaN := f32[i] != f32[i]; isNaN != (want == "nan") || !isNaN && math.Float32bits(f32[i]) != uint32(golden(t, want)) {
			t.Fatalf("%s %v: Decode32(%#x) = %v, want %s", k.name, d, bits, f32[i], want)
		}
		if math.Float64bits(f64[i]) != math.Float64bits(wide(f32[i])) {
			t.Fatalf("%s %v: Decode64(%#x) = %v, Decode32 %v", k.name, d, bits, f64[i], f32[i])
		}
	}
}

func goldenEncode(t *testing.T, k *kernels, d DType, x float32, want string) {
	t.Helper()
	w := d.Bits() / 8
	f32, f64 := make([]float32, block), make([]float64, block)
	for i := range block {
		f32[i], f64[i] = x, float64(x)
	}
	b32, b64 := make([]byte, block*w), make([]byte, block*w)
	dtypes[d].encode32(k, b32, f32)
	dtypes[d].encode64(k, b64, f64)
	bits := golden(t, want)
	if want == "nan" {
		bits = dtypes[d].layout.nan
	}
	for i := range block {
		got32, got64 := d.Bits64(b32, i), d.Bits64(b64, i)
		if want == "nan" && d == F8_E4M3 {
			got32, got64 = got32&0x7f, got64&0x7f // beyond -448, the sign stays
		}
		if got32 != bits || got64 != bits {
			t.Fatalf("%s %v: Encode32(%x) = %#x, Encode64 %#x, want %s", k.name, d, x, got32, got64, want)
		}
	}
}
