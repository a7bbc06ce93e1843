package merge

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/safetensors"
	"github.com/loratool/loratool/testdata/fixture"
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
	k := newWorker(wr, new(atomic.Bool))
	dst := make([]byte, len(w.Data))
	var s Stats
	b.SetBytes(int64(len(dst)))
	for b.Loop() {
		if err := k.elements(dst, ch, 0, out*in, &s); err != nil {
			b.Fatal(err)
		}
	}
}

// benchmarkChange makes a change of a linear module with ‖ΔW‖/‖W‖ = relative.
func benchmarkChange(d dtype.DType, relative float64, random bool) *change {
	const out, in, rank = 512, 4096, 16
	r := rand.New(rand.NewPCG(1, 1))
	w := values(r, d, 0.02, out, in)
	tensor := func(t safetensors.NamedData) adapter.Tensor {
		return adapter.Tensor{DType: t.DType, Shape: t.Shape, Bytes: t.Data}
	}
	m := &adapter.Module{Rank: rank, Alpha: 2 * rank, Multiplicity: 1,
		A: tensor(values(r, dtype.F32, 0.02, rank, in)), B: tensor(values(r, dtype.F32, relative*0.02/(0.02*4*2), out, rank))}
	ch := newChange(safetensors.Tensor{DType: d, Shape: w.Shape}, safetensors.Tensor{DType: d, Shape: w.Shape}, w.Data)
	u := adapter.Update{Module: m, Experts: 1, Rank: rank}
	ch.add(0, newTerm(u, adapter.Piece{Expert: -1, Out: adapter.All(out), In: adapter.All(in), Row: adapter.All(out), Col: adapter.All(in)}, 1))
	if random {
		ch.random = newRoundingKey(1, "w")
	}
	return ch
}

// fillRecorded merges a change in memory and returns the result, its indices
// and their size in bytes.
func fillRecorded(k *worker, dst []byte, ch *change) (*fragment, error) {
	f := &fragment{change: ch}
	k.record(f)
	var s Stats
	err := k.elements(dst, ch, 0, int64(ch.rows*ch.cols), &s)
	f.closeBlock()
	return f, err
}

// BenchmarkRecord measures merging with a record, in memory, one goroutine;
// the record's share of the tensor is in percent.
func BenchmarkRecord(b *testing.B) {
	for _, d := range []dtype.DType{dtype.BF16, dtype.F16, dtype.F32} {
		for _, random := range []bool{false, true} {
			for _, relative := range []float64{1e-3, 1e-2, 1e-1} {
				b.Run(fmt.Sprintf("%v/%v/%g", d, random, relative), func(b *testing.B) {
					ch := benchmarkChange(d, relative, random)
					wr := &writer{}
					k := newWorker(wr, new(atomic.Bool))
					dst := make([]byte, len(ch.source))
					b.SetBytes(int64(len(dst)))
					var f *fragment
					for b.Loop() {
						var err error
						if f, err = fillRecorded(k, dst, ch); err != nil {
							b.Fatal(err)
						}
					}
					b.ReportMetric(100*float64(len(f.bits.Bytes))/float64(len(dst)), "%")
				})
			}
		}
	}
}

// BenchmarkRestore measures the way back, in memory, one goroutine, with the
// indices taken for zero.
func BenchmarkRestore(b *testing.B) {
	for _, d := range []dtype.DType{dtype.BF16, dtype.F16, dtype.F32} {
		for _, random := range []bool{false, true} {
			b.Run(fmt.Sprintf("%v/%v", d, random), func(b *testing.B) {
				ch := benchmarkChange(d, 1e-2, random)
				wr := &writer{}
				k := newWorker(wr, new(atomic.Bool))
				merged, restored := make([]byte, len(ch.source)), make([]byte, len(ch.source))
				if _, err := fillRecorded(k, merged, ch); err != nil {
					b.Fatal(err)
				}
				k.record(nil)
				ch.source, ch.inverse = merged, &inverse{}
				ch.terms[0][0].coefficient *= -1
				b.SetBytes(int64(len(merged)))
				for b.Loop() {
					if err := k.restoreBlocks(restored, ch, 0, ch.rows*ch.cols); err != nil {
						b.Fatal(err)
					}
				}
			})
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
	fixture.Write(b, base, weights...)
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
