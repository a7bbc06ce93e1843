package merge

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/safetensors"
	"github.com/loratool/loratool/testdata/fixture"
)

// rat returns w + Σ c·l·r as a fraction.
func ratSum(w float64, parts ...[3]float64) *big.Rat {
	sum := new(big.Rat).SetFloat64(w)
	for _, p := range parts {
		x := new(big.Rat).SetFloat64(p[0])
		x.Mul(x, new(big.Rat).SetFloat64(p[1]))
		x.Mul(x, new(big.Rat).SetFloat64(p[2]))
		sum.Add(sum, x)
	}
	return sum
}

// roundRat rounds a fraction to the nearest value of d by comparing it with
// the midpoint of its neighbours: it shares nothing with the engine's path.
func roundRat(d dtype.DType, x *big.Rat) []byte {
	f, _ := new(big.Float).SetPrec(2000).SetRat(x).Float64()
	out := make([]byte, d.Bits()/8)
	best, bestDistance := uint64(0), (*big.Rat)(nil)
	d.Encode64(out, []float64{f})
	center := d.Ordinal(d.Bits64(out, 0))
	for n := center - 2; n <= center+2; n++ {
		bits := d.FromOrdinal(n)
		putBits(out, bits)
		var v [1]float64
		d.Decode64(v[:], out)
		if math.IsNaN(v[0]) || math.IsInf(v[0], 0) || v[0] == 0 && math.Signbit(v[0]) != (x.Sign() < 0) {
			continue
		}
		distance := new(big.Rat).SetFloat64(v[0])
		distance.Abs(distance.Sub(distance, x))
		c := -1
		if bestDistance != nil {
			c = distance.Cmp(bestDistance)
		}
		if c < 0 || c == 0 && bits&1 == 0 {
			best, bestDistance = bits, distance
		}
	}
	putBits(out, best)
	return out
}

// TestLinearIsCorrectlyRounded merges random linear modules of every dtype
// and compares every element with exact arithmetic.
func TestLinearIsCorrectlyRounded(t *testing.T) {
	for _, d := range []dtype.DType{dtype.BF16, dtype.F16, dtype.F32, dtype.F64, dtype.F8_E4M3, dtype.F8_E5M2} {
		for _, fd := range []dtype.DType{dtype.F32, dtype.BF16, dtype.F64} {
			for _, size := range [][3]int{{1, 1, 1}, {5, 7, 3}, {33, 65, 4}, {3, 2100, 8}} {
				for _, scale := range []float64{1e-4, 0.05, 30} {
					if size[1] > 1000 && scale != 0.05 {
						continue
					}
					t.Run(fmt.Sprintf("%v/%v/%v/%v", d, fd, size, scale), func(t *testing.T) {
						testLinear(t, d, fd, size[0], size[1], size[2], scale)
					})
				}
			}
		}
	}
}

func testLinear(t *testing.T, d, fd dtype.DType, out, in, rank int, scale float64) {
	r := rand.New(rand.NewPCG(uint64(out), uint64(in)))
	w := values(r, d, 0.5, out, in)
	a, b := values(r, fd, scale, rank, in), values(r, fd, 0.2, out, rank)
	base := filepath.Join(t.TempDir(), "base.safetensors")
	fixture.Write(t, base, named("x.weight", w))
	adapter := writeAdapter(t, map[string]any{"r": rank}, named("x.lora_A.weight", a), named("x.lora_B.weight", b))
	f, report, err := mergeFile(t, Options{}, base, adapter)
	if err != nil {
		t.Fatal(err)
	}
	c := 6 / float64(rank)
	wf, af, bf := floats(w), floats(a), floats(b)
	var want []byte
	for i := range out {
		for j := range in {
			parts := make([][3]float64, rank)
			for k := range rank {
				parts[k] = [3]float64{c, bf[i*rank+k], af[k*in+j]}
			}
			want = append(want, roundRat(d, ratSum(wf[i*in+j], parts...))...)
		}
	}
	compareBits(t, "x.weight", tensorOf(t, f, "x.weight"), want)
	if report.Total.Elements != out*in {
		t.Errorf("report counts %d elements, want %d", report.Total.Elements, out*in)
	}
}

// TestTies merges values that are exactly between two bf16 values, where an
// approximation cannot tell the rounding.
func TestTies(t *testing.T) {
	const n = 64
	w := safetensors.NamedData{Name: "x.weight", DType: dtype.BF16, Shape: []int{n, n}, Data: make([]byte, 2*n*n)}
	x := make([]float64, n*n)
	for i := range x {
		x[i] = 1 + float64(i%128)/128
	}
	dtype.BF16.Encode64(w.Data, x)
	a := safetensors.NamedData{DType: dtype.F32, Shape: []int{1, n}, Data: make([]byte, 4*n)}
	b := safetensors.NamedData{DType: dtype.F32, Shape: []int{n, 1}, Data: make([]byte, 4*n)}
	av, bv := make([]float64, n), make([]float64, n)
	for i := range n {
		av[i], bv[i] = []float64{1, 3, -1, 0x1p-30}[i%4], 0x1p-8
	}
	dtype.F32.Encode64(a.Data, av)
	dtype.F32.Encode64(b.Data, bv)
	base := filepath.Join(t.TempDir(), "base.safetensors")
	fixture.Write(t, base, w)
	adapter := writeAdapter(t, map[string]any{"r": 1, "lora_alpha": 1}, named("x.lora_A.weight", a), named("x.lora_B.weight", b))
	f, _, err := mergeFile(t, Options{}, base, adapter)
	if err != nil {
		t.Fatal(err)
	}
	var want []byte
	for i := range n {
		for j := range n {
			want = append(want, roundRat(dtype.BF16, ratSum(x[i*n+j], [3]float64{1, bv[i], av[j]}))...)
		}
	}
	compareBits(t, "x.weight", tensorOf(t, f, "x.weight"), want)
}

// TestSpecialValues keeps the bits of what is not finite and refuses to make
// more of it.
func TestSpecialValues(t *testing.T) {
	bits := []uint64{0x7f80, 0xff80, 0x7fc1, 0xffa5, 0x0000, 0x8000, 0x0001, 0x7f7f}
	w := safetensors.NamedData{Name: "x.weight", DType: dtype.BF16, Shape: []int{1, len(bits)}, Data: make([]byte, 2*len(bits))}
	for i, b := range bits {
		putBits(w.Data[2*i:2*i+2], b)
	}
	one := func(x float64, shape ...int) safetensors.NamedData {
		n := shape[0] * shape[1]
		v := make([]float64, n)
		for i := range v {
			v[i] = x
		}
		data := make([]byte, 4*n)
		dtype.F32.Encode64(data, v)
		return safetensors.NamedData{DType: dtype.F32, Shape: shape, Data: data}
	}
	for _, c := range []struct {
		name  string
		delta float64
		want  []uint64 // nil: refused
	}{
		{"zero", 0, []uint64{0x7f80, 0xff80, 0x7fc1, 0xffa5, 0, 0, 1, 0x7f7f}},
		{"small", 1, []uint64{0x7f80, 0xff80, 0x7fc1, 0xffa5, 0x3f80, 0x3f80, 0x3f80, 0x7f7f}},
		{"overflow", 0x1p127, nil},
		{"infinite", inf, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			base := filepath.Join(t.TempDir(), "base.safetensors")
			fixture.Write(t, base, w)
			adapter := writeAdapter(t, map[string]any{"r": 1, "lora_alpha": 1},
				named("x.lora_A.weight", one(c.delta, 1, len(bits))), named("x.lora_B.weight", one(1, 1, 1)))
			f, _, err := mergeFile(t, Options{}, base, adapter)
			if c.want == nil {
				if err == nil {
					t.Fatal("no error")
				}
				t.Log(err)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := make([]byte, 2*len(bits))
			for i, b := range c.want {
				putBits(want[2*i:2*i+2], b)
			}
			compareBits(t, "x.weight", tensorOf(t, f, "x.weight"), want)
		})
	}
}

// TestSeveralAdapters sums deltas of other ranks and dtypes before the one
// rounding.
func TestSeveralAdapters(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	const out, in = 20, 31
	w := values(r, dtype.BF16, 0.1, out, in)
	base := filepath.Join(t.TempDir(), "base.safetensors")
	fixture.Write(t, base, named("x.weight", w))
	ranks, weights := []int{2, 5, 16}, []float64{1, -0.3, 2.5}
	var paths []string
	parts := make([][][3]float64, out*in)
	for n, rank := range ranks {
		a, b := values(r, dtype.F16, 0.1, rank, in), values(r, dtype.F16, 0.1, out, rank)
		paths = append(paths, writeAdapter(t, map[string]any{"r": rank, "use_rslora": n == 1}, named("x.lora_A.weight", a), named("x.lora_B.weight", b)))
		s := 6 / float64(rank)
		if n == 1 {
			s = 6 / math.Sqrt(float64(rank))
		}
		af, bf := floats(a), floats(b)
		for i := range out {
			for j := range in {
				for k := range rank {
					parts[i*in+j] = append(parts[i*in+j], [3]float64{weights[n] * s, bf[i*rank+k], af[k*in+j]})
				}
			}
		}
	}
	f, _, err := mergeFile(t, Options{}, base, paths...)
	if err != nil {
		t.Fatal(err)
	}
	var want []byte
	for i, x := range floats(w) {
		want = append(want, roundRat(dtype.BF16, ratSum(x, parts[i]...))...)
	}
	compareBits(t, "x.weight", tensorOf(t, f, "x.weight"), want)
}
