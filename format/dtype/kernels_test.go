package dtype

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestKernelsDecode decodes every value of 8 and 16 bits in every lane, and
// random float32, from odd addresses, by every implementation.
func TestKernelsDecode(t *testing.T) {
	for _, d := range floats {
		r := rand.New(rand.NewPCG(3, uint64(d)))
		width := d.Bits() / 8
		patterns := make([]byte, 1, 1+1<<16*width)
		for i := range uint64(1) << min(16, d.Bits()) {
			bits := i
			if width > 2 {
				bits = r.Uint64()
			}
			patterns = append(patterns, fileBytes(d, bits)...)
		}
		patterns = patterns[1:] // odd address
		n := len(patterns) / width
		for _, k := range all() {
			for start := range block {
				src := patterns[start*width:]
				sameFloats(t, k, d, dtypes[d].decode32, n-start, src)
				if start == 0 || d == F32 { // else by way of decode32, or scalar
					sameFloats(t, k, d, dtypes[d].decode64, n-start, src)
				}
			}
		}
	}
}

func sameFloats[T float32 | float64](t *testing.T, k *kernels, d DType, decode func(*kernels, []T, []byte), n int, src []byte) {
	t.Helper()
	got, want := make([]T, n+1), make([]T, n+1)
	got[n], want[n] = 7, 7
	decode(k, got[:n], src)
	decode(&generic, want[:n], src)
	if bytes.Equal(view(got), view(want)) {
		return
	}
	for i := range want {
		if !bytes.Equal(view(got[i:i+1]), view(want[i:i+1])) {
			t.Fatalf("%s %v element %d: %x, want %x", k.name, d, i, view(got[i:i+1]), view(want[i:i+1]))
		}
	}
}

// TestKernelsEncode encodes floats of every sign, exponent and leading
// mantissa bits, with what lies beside midpoints, in every lane.
func TestKernelsEncode(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	var f32 []float32
	var f64 []float64
	for high := range uint32(1 << 16) {
		low := []uint32{0, 1, 0x7fff, 0x8000, 0x8001, 0x0fff, 0x1000, 0x1001, 0xffff, r.Uint32() & 0xffff}
		for range 2 {
			f32 = append(f32, math.Float32frombits(high<<16|low[r.IntN(len(low))]))
		}
		f64 = append(f64, wide(f32[len(f32)-1]), math.Float64frombits(r.Uint64()))
		x := float64(f32[len(f32)-2])
		f64 = append(f64, math.Nextafter(x+(x-float64(math.Nextafter32(float32(x), 0)))/2, x*float64(r.IntN(3)-1)))
	}
	for _, d := range floats {
		for _, k := range all() {
			for start := range block {
				sameBytes(t, k, d, dtypes[d].encode32, f32[start:])
				if start == 0 || d == F32 { // else scalar
					sameBytes(t, k, d, dtypes[d].encode64, f64[start:])
				}
			}
		}
	}
}

func sameBytes[T float32 | float64](t *testing.T, k *kernels, d DType, encode func(*kernels, []byte, []T), src []T) {
	t.Helper()
	width := d.Bits() / 8
	n := len(src) * width
	got := make([]byte, n+3)[1:] // odd address
	want := slices.Clone(got)
	encode(k, got[:n], src)
	encode(&generic, want[:n], src)
	if bytes.Equal(got, want) {
		return
	}
	for i, x := range src {
		if g, w := got[i*width:][:width], want[i*width:][:width]; !bytes.Equal(g, w) {
			t.Fatalf("%s %v element %d: %x → %x, want %x", k.name, d, i, view([]T{x}), g, w)
		}
	}
	t.Fatalf("%s %v: wrote past the end", k.name, d)
}

// TestKernelsLengths tries every length about a block.
func TestKernelsLengths(t *testing.T) {
	src := make([]float32, 4*block)
	for i := range src {
		src[i] = 1.37 * float32(i-block)
	}
	for _, d := range floats {
		for _, k := range all() {
			for n := range len(src) {
				sameBytes(t, k, d, dtypes[d].encode32, src[:n])
				b := make([]byte, n*d.Bits()/8)
				dtypes[d].encode32(k, b, src[:n])
				sameFloats(t, k, d, dtypes[d].decode32, n, b)
				sameFloats(t, k, d, dtypes[d].decode64, n, b)
			}
		}
	}
}

// TestKernelChoice runs this test binary again under GODEBUG settings and lets
// TestPrintKernel say what was chosen.
func TestKernelChoice(t *testing.T) {
	for _, tt := range []struct {
		godebug string
		most    string
	}{
		{"", "avx512"},
		{"cpu.avx512f=off", "avx2"},
		{"cpu.avx2=off", "generic"},
		{"cpu.avx512f=off,cpu.avx2=off", "generic"},
	} {
		t.Run(tt.godebug, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestPrintKernel$", "-test.v")
			cmd.Env = append(os.Environ(), "GODEBUG="+os.Getenv("GODEBUG")+","+tt.godebug, "DTYPE_PRINT_KERNEL=1")
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			want := "generic"
			for _, k := range all() {
				want = k.name
				if k.name == tt.most {
					break
				}
			}
			if want := "kernel " + want + "\n"; !strings.Contains(string(out), want) {
				t.Errorf("got %s, want %s", out, want)
			}
		})
	}
}

func TestPrintKernel(t *testing.T) {
	if os.Getenv("DTYPE_PRINT_KERNEL") == "" {
		t.Skip("run by TestKernelChoice")
	}
	os.Stdout.WriteString("kernel " + Kernel() + "\n")
}

// BenchmarkCodecs converts 1024 values that stay in the first cache; bytes are
// those of the file's side.
func BenchmarkCodecs(b *testing.B) {
	const n = 1024
	f32, f64 := make([]float32, n), make([]float64, n)
	for i := range f32 {
		f32[i] = float32(i)*0.001 - 0.5
		f64[i] = float64(f32[i])
	}
	for _, d := range floats {
		raw := make([]byte, n*d.Bits()/8)
		d.Encode32(raw, f32)
		for _, k := range all() {
			for _, c := range []struct {
				name string
				run  func()
			}{
				{"Decode32", func() { dtypes[d].decode32(k, f32, raw) }},
				{"Encode32", func() { dtypes[d].encode32(k, raw, f32) }},
				{"Decode64", func() { dtypes[d].decode64(k, f64, raw) }},
				{"Encode64", func() { dtypes[d].encode64(k, raw, f64) }},
			} {
				b.Run(fmt.Sprintf("%v/%s/%s", d, c.name, k.name), func(b *testing.B) {
					b.SetBytes(int64(len(raw)))
					for b.Loop() {
						c.run()
					}
				})
			}
		}
	}
}

// BenchmarkNeighbours reports bytes of the dtype.
func BenchmarkNeighbours(b *testing.B) {
	x := make([]float64, 1024)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range x {
		x[i] = r.NormFloat64()
	}
	for _, d := range floats {
		b.Run(d.String(), func(b *testing.B) {
			b.SetBytes(int64(d.Bits() / 8))
			sum, i := uint64(0), 0
			for b.Loop() {
				_, _, low, high := d.Neighbours(x[i%len(x)])
				sum += low + high
				i++
			}
			_ = sum
		})
	}
}
