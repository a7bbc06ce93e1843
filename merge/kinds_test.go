package merge

import (
	"fmt"
	"maps"
	"math/big"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/safetensors"
	"github.com/loratool/loratool/testdata/fixture"
)

// A kindCase is a kind of module on a small tensor: what the base and the
// adapter hold, and which products make the delta of an element.
type kindCase struct {
	name   string
	config map[string]any
	shape  []int // of the base's tensor
	tensor string
	a, b   string // names in the adapter, and shapes
	aShape []int
	bShape []int
	rank   int
	// factors returns for element (i, j, …) in row-major order the indices into
	// B and A of product k.
	factors func(element, k int) (b, a int)
	times   float64
}

// kindCases are every kind of module; sizes are odd or 1, and the rank is
// above the dimensions in places.
func kindCases() []kindCase {
	linear := func(out, in, rank int) func(e, k int) (int, int) {
		return func(e, k int) (int, int) { return e/in*rank + k, k*in + e%in }
	}
	turned := func(out, in, rank int) func(e, k int) (int, int) {
		return func(e, k int) (int, int) { return e%out*rank + k, k*in + e/out }
	}
	// Experts: B [out, rank·experts] with the expert innermost, A
	// [experts·rank, in] with the expert outermost.
	stack := func(experts, d1, d2, rank int, transposed bool) func(e, k int) (int, int) {
		return func(e, k int) (int, int) {
			x, o, i := e/(d1*d2), e/d2%d1, e%d2
			in := d2
			if transposed {
				o, i, in = i, o, d1
			}
			return o*rank*experts + k*experts + x, (x*rank+k)*in + i
		}
	}
	parameter := func(rank int) map[string]any {
		return map[string]any{"r": rank, "target_parameters": []string{"x.w"}}
	}
	const A, B = "x.lora_A.weight", "x.lora_B.weight"
	r := func(n int) map[string]any { return map[string]any{"r": n} }
	return []kindCase{
		{"linear", r(3), []int{7, 5}, "x.weight", A, B, []int{3, 5}, []int{7, 3}, 3, linear(7, 5, 3), 1},
		{"rank above dimensions", r(9), []int{2, 3}, "x.weight", A, B, []int{9, 3}, []int{2, 9}, 9, linear(2, 3, 9), 1},
		{"1 by 1", r(1), []int{1, 1}, "x.weight", A, B, []int{1, 1}, []int{1, 1}, 1, linear(1, 1, 1), 1},
		{"transposed", r(4), []int{5, 11}, "x.weight", A, B, []int{4, 5}, []int{11, 4}, 4, turned(11, 5, 4), 1},
		{"embedding", r(2), []int{13, 3}, "x.weight", "x.lora_embedding_A", "x.lora_embedding_B", []int{2, 13}, []int{3, 2}, 2, turned(3, 13, 2), 1},
		{"conv1d", r(2), []int{4, 3, 5}, "x.weight", A, B, []int{2, 3, 5}, []int{4, 2, 1}, 2, linear(4, 15, 2), 1},
		{"conv2d", r(3), []int{4, 2, 3, 3}, "x.weight", A, B, []int{3, 2, 3, 3}, []int{4, 3, 1, 1}, 3, linear(4, 18, 3), 1},
		{"conv3d", r(1), []int{3, 2, 1, 2, 3}, "x.weight", A, B, []int{1, 2, 1, 2, 3}, []int{3, 1, 1, 1, 1}, 1, linear(3, 12, 1), 1},
		{"attention in_proj", r(2), []int{9, 3}, "x.in_proj_weight", A, B, []int{2, 3}, []int{9, 2}, 2, linear(9, 3, 2), 1},
		{"attention out_proj", r(2), []int{3, 3}, "x.out_proj.weight", "x.base_layer.out_proj.lora_A.weight", "x.base_layer.out_proj.lora_B.weight", []int{2, 3}, []int{3, 2}, 2, linear(3, 3, 2), 2},
		{"parameter", parameter(2), []int{5, 3}, "x.w", A, B, []int{2, 3}, []int{5, 2}, 2, linear(5, 3, 2), 1},
		{"experts", parameter(2), []int{3, 5, 4}, "x.w", A, B, []int{6, 4}, []int{5, 6}, 2, stack(3, 5, 4, 2, false), 1},
		{"experts transposed", parameter(3), []int{2, 5, 4}, "x.w", A, B, []int{6, 5}, []int{4, 6}, 3, stack(2, 5, 4, 3, true), 1},
		{"one expert", parameter(2), []int{1, 5, 4}, "x.w", A, B, []int{2, 4}, []int{5, 2}, 2, stack(1, 5, 4, 2, false), 1},
	}
}

// TestEveryKindIsCorrectlyRounded compares every element of every kind of
// module with exact arithmetic, for all dtypes of base, factors and output.
func TestEveryKindIsCorrectlyRounded(t *testing.T) {
	for _, c := range kindCases() {
		for _, d := range []dtype.DType{dtype.BF16, dtype.F16, dtype.F32, dtype.F64, dtype.F8_E4M3, dtype.F8_E5M2} {
			for _, fd := range []dtype.DType{dtype.F32, dtype.BF16, dtype.F64} {
				for _, out := range []dtype.DType{0, dtype.BF16, dtype.F32} {
					if out != 0 && c.name != "linear" && c.name != "experts" {
						continue // a merge of its own takes milliseconds, most of them for the disk
					}
					t.Run(fmt.Sprintf("%s/%v/%v/%v", c.name, d, fd, out), func(t *testing.T) { testKind(t, c, d, fd, out) })
				}
			}
		}
	}
}

func testKind(t *testing.T, c kindCase, d, fd, out dtype.DType) {
	rng := rand.New(rand.NewPCG(uint64(len(c.name)), uint64(d)<<8|uint64(fd)))
	w, a, b := values(rng, d, 0.5, c.shape...), values(rng, fd, 0.05, c.aShape...), values(rng, fd, 0.3, c.bShape...)
	base := filepath.Join(t.TempDir(), "base.safetensors")
	fixture.Write(t, base, named(c.tensor, w))
	f, _, err := mergeFile(t, Options{DType: out}, base, writeAdapter(t, c.config, named(c.a, a), named(c.b, b)))
	if err != nil {
		t.Fatal(err)
	}
	to := d
	if out != 0 {
		to = out
	}
	coefficient := 6 / float64(c.rank) * c.times
	af, bf := floats(a), floats(b)
	var want []byte
	for e, x := range floats(w) {
		parts := make([][3]float64, c.rank)
		for k := range parts {
			i, j := c.factors(e, k)
			parts[k] = [3]float64{coefficient, bf[i], af[j]}
		}
		want = append(want, roundRat(to, ratSum(x, parts...))...)
	}
	compareBits(t, c.tensor, tensorOf(t, f, c.tensor), want)
}

// TestBiasIsCorrectlyRounded adds scaling·lora_B.bias.
func TestBiasIsCorrectlyRounded(t *testing.T) {
	for _, d := range []dtype.DType{dtype.BF16, dtype.F16, dtype.F32, dtype.F64} {
		rng := rand.New(rand.NewPCG(3, uint64(d)))
		w, bias := values(rng, d, 0.5, 9), values(rng, dtype.F32, 0.01, 9)
		base := filepath.Join(t.TempDir(), "base.safetensors")
		fixture.Write(t, base, named("x.weight", values(rng, d, 1, 9, 4)), named("x.bias", w))
		f, _, err := mergeFile(t, Options{}, base, writeAdapter(t, map[string]any{"r": 7, "lora_bias": true, "use_rslora": false},
			named("x.lora_A.weight", values(rng, dtype.F32, 1, 7, 4)), named("x.lora_B.weight", values(rng, dtype.F32, 1, 9, 7)), named("x.lora_B.bias", bias)))
		if err != nil {
			t.Fatal(err)
		}
		var want []byte
		bf := floats(bias)
		for i, x := range floats(w) {
			want = append(want, roundRat(d, ratSum(x, [3]float64{6.0 / 7, 1, bf[i]}))...)
		}
		compareBits(t, fmt.Sprint(d, " x.bias"), tensorOf(t, f, "x.bias"), want)
	}
}

// TestDoRAIsCorrectlyRounded scales each output to its magnitude:
//
//	w' = m / ‖w + Δ‖ · (w + Δ)
//
// with the norm over all inputs of the output, in arithmetic of 1000 bits.
func TestDoRAIsCorrectlyRounded(t *testing.T) {
	for _, c := range kindCases() {
		if c.config["target_parameters"] != nil || c.tensor != "x.weight" { // PEFT has no DoRA for those
			continue
		}
		for _, d := range []dtype.DType{dtype.BF16, dtype.F16, dtype.F32, dtype.F64, dtype.F8_E5M2} {
			fd := dtype.F32
			if d == dtype.F16 {
				fd = dtype.BF16
			}
			t.Run(fmt.Sprintf("%s/%v/%v", c.name, d, fd), func(t *testing.T) { testDoRA(t, c, d, fd) })
		}
	}
}

func testDoRA(t *testing.T, c kindCase, d, fd dtype.DType) {
	rng := rand.New(rand.NewPCG(uint64(len(c.name)), uint64(d)))
	w, a, b := values(rng, d, 0.5, c.shape...), values(rng, fd, 0.05, c.aShape...), values(rng, fd, 0.3, c.bShape...)
	outs := c.bShape[0]
	magnitude := values(rng, fd, 1, outs)
	base := filepath.Join(t.TempDir(), "base.safetensors")
	fixture.Write(t, base, named("x.weight", w))
	config := map[string]any{"use_dora": true}
	maps.Copy(config, c.config)
	f, _, err := mergeFile(t, Options{}, base, writeAdapter(t, config, named(c.a, a), named(c.b, b), named("x.lora_magnitude_vector", magnitude)))
	if err != nil {
		t.Fatal(err)
	}
	compareBits(t, "x.weight", tensorOf(t, f, "x.weight"), exactDoRA(c, d, w, a, b, floats(magnitude)))
}

// exactDoRA is what testDoRA expects.
func exactDoRA(c kindCase, d dtype.DType, w, a, b safetensors.NamedData, m []float64) []byte {
	const bits = 1000
	af, bf, wf := floats(a), floats(b), floats(w)
	sums, squares, output := make([]*big.Rat, len(wf)), make([]*big.Rat, len(m)), make([]int, len(wf))
	for e, x := range wf {
		parts := make([][3]float64, c.rank)
		for k := range parts {
			i, j := c.factors(e, k)
			parts[k] = [3]float64{6 / float64(c.rank), bf[i], af[j]}
			output[e] = i / c.rank
		}
		sums[e] = ratSum(x, parts...)
		if squares[output[e]] == nil {
			squares[output[e]] = new(big.Rat)
		}
		squares[output[e]].Add(squares[output[e]], new(big.Rat).Mul(sums[e], sums[e]))
	}
	var want []byte
	for e, sum := range sums {
		norm := new(big.Float).SetPrec(bits).SetRat(squares[output[e]])
		norm.Sqrt(norm)
		x := new(big.Float).SetPrec(bits).SetRat(sum)
		x.Mul(x, new(big.Float).SetPrec(bits).SetFloat64(m[output[e]]))
		exact, _ := x.Quo(x, norm).Rat(nil)
		want = append(want, roundRat(d, exact)...)
	}
	return want
}
