package merge

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/safetensors"
)

// BenchmarkFill measures the computation alone, one goroutine, values in
// memory: bytes of the output per second.
func BenchmarkFill(b *testing.B) {
	for _, c := range []struct {
		d      dtype.DType
		rank   int
		random bool
	}{{dtype.BF16, 16, false}, {dtype.BF16, 64, false}, {dtype.F16, 16, false}, {dtype.F32, 16, false}, {dtype.F8_E4M3, 16, false}, {dtype.BF16, 16, true}} {
		name := fmt.Sprintf("%v/r%d", c.d, c.rank)
		if c.random {
			name += "/stochastic"
		}
		b.Run(name, func(b *testing.B) { benchmarkFill(b, c.d, c.rank, c.random) })
	}
}

func benchmarkFill(b *testing.B, d dtype.DType, rank int, random bool) {
	const out, in = 512, 4096
	r := rand.New(rand.NewPCG(1, 1))
	w := values(r, d, 0.02, out, in)
	tensor := func(t safetensors.NamedData) adapter.Tensor {
		return adapter.Tensor{DType: t.DType, Shape: t.Shape, Bytes: t.Data}
	}
	m := &adapter.Module{Rank: rank, Alpha: float64(2 * rank), Multiplicity: 1,
		A: tensor(values(r, dtype.F32, 0.02, rank, in)), B: tensor(values(r, dtype.F32, 0.00125, out, rank))}
	ch := newChange(safetensors.Tensor{DType: d, Shape: w.Shape}, safetensors.Tensor{DType: d, Shape: w.Shape}, w.Data)
	u := adapter.Update{Module: m, Experts: 1, Rank: rank}
	ch.add(0, newTerm(u, adapter.Piece{Expert: -1, Out: adapter.All(out), In: adapter.All(in), Row: adapter.All(out), Col: adapter.All(in)}, 1))
	if random {
		ch.random = newRoundingKey(1, "w")
	}
	wr := &writer{}
	k := &worker{w: wr, c32: newComputer32(&wr.layouts32), c64: newComputer64(&wr.layouts64)}
	dst := make([]byte, len(w.Data))
	var s Stats
	b.SetBytes(int64(len(dst)))
	for b.Loop() {
		if err := k.elements(dst, ch, 0, out*in, &s); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMerge measures a whole merge of a file, with reading and writing.
func BenchmarkMerge(b *testing.B) {
	r := rand.New(rand.NewPCG(2, 2))
	const n, layers, rank = 2048, 8, 16
	dir := b.TempDir()
	var weights, factors []safetensors.NamedData
	for i := range layers {
		name := fmt.Sprintf("layers.%d.q_proj", i)
		weights = append(weights, named(name+".weight", values(r, dtype.BF16, 0.02, n, n)))
		factors = append(factors, named(name+".lora_A.weight", values(r, dtype.F32, 0.02, rank, n)), named(name+".lora_B.weight", values(r, dtype.F32, 0.001, n, rank)))
	}
	base := filepath.Join(dir, "base.safetensors")
	writeTensors(b, base, weights...)
	a := writeAdapter(b, map[string]any{"r": rank}, factors...)
	info, err := os.Stat(base)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(info.Size())
	for b.Loop() {
		if _, _, err := mergeFile(b, Options{}, base, a); err != nil {
			b.Fatal(err)
		}
	}
}
