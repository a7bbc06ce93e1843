package model

import (
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/train/internal/backend"
	"github.com/loratool/loratool/train/internal/backend/cpu"
	"github.com/loratool/loratool/train/internal/data"
)

// BenchmarkStep is a step of LoRA, r = 16 on all linears, on a third of
// SmolLM2-135M (layers and vocabulary), with 4 texts of 256 tokens.
func BenchmarkStep(b *testing.B) {
	for _, d := range []dtype.DType{dtype.F32, dtype.BF16} {
		b.Run(d.String(), func(b *testing.B) { benchmarkStep(b, d) })
	}
}

func benchmarkStep(b *testing.B, d dtype.DType) {
	desc := &Desc{
		Family: "llama", Layers: 10, Width: 576, FF: 1536, Heads: 9, KVHeads: 3, HeadDim: 64, Vocab: 16384, Context: 8192,
		Eps: 1e-5, Rope: &Rope{Theta: 100000}, Gated: true, Tied: true,
	}
	m, err := Open(cpu.New(runtime.GOMAXPROCS(0)), desc, randomWeights(desc, d))
	if err != nil {
		b.Fatal(err)
	}
	for _, l := range m.AllLinears() {
		if _, err := m.AddLoRA(l, LoRAOptions{Rank: 16, Alpha: 32, Scaling: 2}); err != nil {
			b.Fatal(err)
		}
	}
	randomize(m)
	r := rand.New(rand.NewPCG(1, 1))
	var texts []data.Sequence
	for range 4 {
		q := data.Sequence{Tokens: make([]int32, 256), Learn: make([]bool, 256)}
		for i := range q.Tokens {
			q.Tokens[i], q.Learn[i] = int32(r.IntN(m.Vocab)), true
		}
		texts = append(texts, q)
	}
	batch := data.NewBatch(texts...)
	for b.Loop() {
		if _, err := m.Step(batch, 1e-3, 0, backend.Key{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*float64(len(batch.Tokens))/b.Elapsed().Seconds(), "tokens/s")
}
