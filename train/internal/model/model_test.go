package model

import (
	"crypto/sha256"
	"encoding/hex"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/train/internal/backend"
	"github.com/loratool/loratool/train/internal/backend/cpu"
	"github.com/loratool/loratool/train/internal/data"
)

// memory is a checkpoint in memory.
type memory map[string]Stored

func (m memory) Tensor(name string) (Stored, bool) {
	s, ok := m[name]
	return s, ok
}

// tiny descriptions that between them use every part of the decoder.
var tiny = map[string]string{
	"llama": `{"model_type": "llama", "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
		"num_key_value_heads": 2, "head_dim": 8, "vocab_size": 50, "max_position_embeddings": 64, "tie_word_embeddings": true,
		"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4, "original_max_position_embeddings": 32}}`,
	"mistral": `{"model_type": "mistral", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2,
		"num_key_value_heads": 1, "vocab_size": 40, "max_position_embeddings": 64, "sliding_window": 5}`,
	"qwen2": `{"model_type": "qwen2", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
		"num_key_value_heads": 1, "vocab_size": 40, "max_position_embeddings": 64, "tie_word_embeddings": true}`,
	"qwen3": `{"model_type": "qwen3", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
		"num_key_value_heads": 2, "head_dim": 8, "vocab_size": 40, "max_position_embeddings": 64}`,
	"gpt2": `{"model_type": "gpt2", "n_embd": 24, "n_layer": 2, "n_head": 3, "n_positions": 64, "vocab_size": 50}`,
}

// newTiny returns a model of random weights of a dtype.
func newTiny(t *testing.T, family string, d dtype.DType, workers int) *Model {
	t.Helper()
	desc, err := describe(t, tiny[family])
	if err != nil {
		t.Fatal(err)
	}
	m, err := Open(cpu.New(workers), desc, randomWeights(desc, d))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func randomWeights(desc *Desc, d dtype.DType) memory {
	r, all := rand.New(rand.NewPCG(3, 4)), memory{}
	for _, s := range desc.Tensors() {
		values := make([]float32, s.Elements())
		for i := range values {
			values[i] = float32(0.3 * r.NormFloat64())
			if strings.Contains(s.Name, "norm") || strings.Contains(s.Name, "ln_") {
				values[i] += 1
			}
		}
		raw := make([]byte, len(values)*d.Bits()/8)
		d.Encode32(raw, values)
		name := desc.Prefix() + s.Name
		if strings.HasPrefix(s.Name, HeadName) {
			name = s.Name
		}
		all[name] = Stored{d, s.Shape, raw}
	}
	return all
}

// tinyBatch holds sequences with prompts and without.
func tinyBatch(vocab int) *data.Batch {
	r := rand.New(rand.NewPCG(5, 6))
	var all []data.Sequence
	for i, n := range []int{9, 14, 1, 7} {
		s := data.Sequence{Tokens: make([]int32, n), Learn: make([]bool, n)}
		for j := range n {
			s.Tokens[j] = int32(r.IntN(vocab))
			s.Learn[j] = i != 1 || j > 4
		}
		all = append(all, s)
	}
	return data.NewBatch(all...)
}

// randomize sets the trained values to small random numbers.
func randomize(m *Model) {
	r := rand.New(rand.NewPCG(7, 8))
	for _, p := range m.Params() {
		values := make([]float32, p.Elements())
		m.b.Read(values, p.Value)
		for i := range values {
			values[i] += float32(0.1 * r.NormFloat64())
		}
		m.b.Write(p.Value, values)
	}
}

// methods make every kind of trained thing.
var methods = map[string]func(t *testing.T, m *Model){
	"lora":         func(t *testing.T, m *Model) { addLoRA(t, m, LoRAOptions{Rank: 3, Alpha: 6, Scaling: 2}) },
	"lora dropout": func(t *testing.T, m *Model) { addLoRA(t, m, LoRAOptions{Rank: 3, Alpha: 6, Scaling: 2, Dropout: 0.3}) },
	"lora frozen":  func(t *testing.T, m *Model) { addLoRA(t, m, LoRAOptions{Rank: 2, Alpha: 6, Scaling: 2, Frozen: 2}) },
	"dora":         func(t *testing.T, m *Model) { addLoRA(t, m, LoRAOptions{Rank: 3, Alpha: 6, Scaling: 2, DoRA: true}) },
	"ft":           func(t *testing.T, m *Model) { thaw(t, m, m.WeightNames(false)) },
	"bitfit":       func(t *testing.T, m *Model) { thaw(t, m, m.WeightNames(true)) },
	"top":          func(t *testing.T, m *Model) { thaw(t, m, m.WeightNames(false)[len(m.order)-4:]) },
	"preembed": func(t *testing.T, m *Model) {
		if err := m.AddPrefix(3, 2, false); err != nil {
			t.Fatal(err)
		}
	},
	"prelayer": func(t *testing.T, m *Model) {
		if err := m.AddPrefix(2, 1, true); err != nil {
			t.Fatal(err)
		}
	},
	"adapterh": func(t *testing.T, m *Model) {
		if err := m.AddAdapters(5); err != nil {
			t.Fatal(err)
		}
	},
}

func addLoRA(t *testing.T, m *Model, o LoRAOptions) {
	t.Helper()
	for _, l := range m.AllLinears() {
		u, err := m.AddLoRA(l, o)
		if err != nil {
			t.Fatal(err)
		}
		if o.DoRA {
			if err := m.NormMagnitude(u); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func thaw(t *testing.T, m *Model, names []string) {
	t.Helper()
	for _, n := range names {
		if _, err := m.Thaw(n); err != nil {
			t.Fatal(err)
		}
	}
}

// slack of a difference of float32 losses near 100: they are good to about
// 1e-5, the steps move them by some 1e-2.
const slack = 2e-3

// Every gradient must be the slope of the loss along a random direction.
func TestGradients(t *testing.T) {
	for family := range tiny {
		for name, add := range methods {
			if name == "bitfit" && family != "gpt2" && family != "qwen2" {
				continue // no biases
			}
			if race && name != "lora dropout" && name != "adapterh" {
				continue // the same goroutines in all
			}
			t.Run(family+"/"+name, func(t *testing.T) {
				m := newTiny(t, family, dtype.F32, 2)
				add(t, m)
				randomize(m)
				checkGradients(t, m, name == "dora")
			})
		}
	}
}

func checkGradients(t *testing.T, m *Model, dora bool) {
	batch, key := tinyBatch(m.Vocab), backend.Key{Seed: 1, Step: 2}
	loss := func() float64 {
		l, err := m.Step(batch, 1, 0.05, key)
		if err != nil {
			t.Fatal(err)
		}
		return l.Sum
	}
	for _, p := range m.Params() {
		m.b.Zero(p.Grad)
	}
	loss()
	r := rand.New(rand.NewPCG(9, 10))
	for _, p := range m.Params() {
		if dora && !strings.HasSuffix(p.Name, "magnitude_vector") {
			continue // the norm is a constant in DoRA's gradient, not in its loss
		}
		n := int(p.Elements())
		grad, values := make([]float32, n), make([]float32, n)
		saved := snapshot(m)
		m.b.Read(grad, p.Grad)
		m.b.Read(values, p.Value)
		direction, slope, norm := make([]float64, n), 0.0, 0.0
		for i, g := range grad {
			direction[i] = r.NormFloat64() + float64(g)/rms(grad)
			norm += direction[i] * direction[i]
		}
		norm = math.Sqrt(norm)
		for i, g := range grad {
			slope += float64(g) * direction[i] / norm
		}
		const h = 2e-3
		move := func(h float64) float64 {
			moved := make([]float32, n)
			for i, v := range values {
				moved[i] = v + float32(h*direction[i]/norm)
			}
			m.b.Write(p.Value, moved)
			return loss()
		}
		got := (8*(move(h)-move(-h)) - (move(2*h) - move(-2*h))) / (12 * h) // five-point formula
		m.b.Write(p.Value, values)
		restore(m, saved)
		if math.Abs(got-slope) > slack*max(1, math.Abs(slope)) {
			t.Errorf("%s: slope of the loss %g, gradient says %g", p.Name, got, slope)
		}
	}
}

func rms(x []float32) float64 {
	s := 0.0
	for _, v := range x {
		s += float64(v) * float64(v)
	}
	return math.Sqrt(s/float64(len(x))) + 1e-12
}

// snapshot and restore keep the gradients, which every step adds to.
func snapshot(m *Model) (all [][]float32) {
	for _, p := range m.Params() {
		g := make([]float32, p.Elements())
		m.b.Read(g, p.Grad)
		all = append(all, g)
	}
	return all
}

func restore(m *Model, all [][]float32) {
	for i, p := range m.Params() {
		m.b.Write(p.Grad, all[i])
	}
}

// A session must predict what a whole pass does.
func TestSession(t *testing.T) {
	for family := range tiny {
		t.Run(family, func(t *testing.T) {
			m := newTiny(t, family, dtype.BF16, 2)
			tokens := []int32{3, 1, 4, 1, 5, 9, 2, 6, 5, 3}
			all, err := m.Logits(data.NewBatch(data.Sequence{Tokens: tokens, Learn: make([]bool, len(tokens))}))
			if err != nil {
				t.Fatal(err)
			}
			s, err := m.NewSession(len(tokens))
			if err != nil {
				t.Fatal(err)
			}
			for from, to := 0, 4; from < len(tokens); from, to = to, to+1 {
				got, err := s.Next(tokens[from:to]...)
				if err != nil {
					t.Fatal(err)
				}
				want := all[(to-1)*m.Vocab:][:m.Vocab]
				for i, x := range got {
					if math.Abs(float64(x-want[i])) > 1e-5 {
						t.Fatalf("after %d tokens, logit %d is %g, a whole pass has %g", to, i, x, want[i])
					}
				}
			}
			if _, err := s.Next(1); err == nil {
				t.Error("a full session took another token")
			}
		})
	}
}

// Sequences of a batch do not see each other, and the number of workers does
// not change a bit.
func TestBatchIsolation(t *testing.T) {
	for family := range tiny {
		t.Run(family, func(t *testing.T) {
			var want []float32
			for workers := 1; workers <= 3; workers++ {
				m := newTiny(t, family, dtype.F32, workers)
				a := data.Sequence{Tokens: []int32{3, 1, 4, 1, 5}, Learn: make([]bool, 5)}
				b := data.Sequence{Tokens: []int32{9, 2, 6}, Learn: make([]bool, 3)}
				both, err := m.Logits(data.NewBatch(a, b))
				if err != nil {
					t.Fatal(err)
				}
				alone, err := m.Logits(data.NewBatch(b))
				if err != nil {
					t.Fatal(err)
				}
				for i, x := range alone {
					if both[5*m.Vocab+i] != x {
						t.Fatalf("logit %d is %g beside another sequence, %g alone", i, both[5*m.Vocab+i], x)
					}
				}
				if want == nil {
					want = both
				}
				for i, x := range both {
					if want[i] != x {
						t.Fatalf("logit %d differs with %d workers", i, workers)
					}
				}
			}
		})
	}
}

// The gradients of one step have the same bits with every implementation of
// the kernels, fused or not; the lanes of the tests run them all.
func TestSameBits(t *testing.T) {
	for family, want := range sameBits {
		m := newTiny(t, family, dtype.BF16, 2)
		methods["lora dropout"](t, m)
		randomize(m)
		if _, err := m.Step(tinyBatch(m.Vocab), 0.1, 0, backend.Key{Seed: 1, Step: 2}); err != nil {
			t.Fatal(err)
		}
		h := sha256.New()
		for _, g := range snapshot(m) {
			raw := make([]byte, 4*len(g))
			dtype.F32.Encode32(raw, g)
			h.Write(raw)
		}
		if got := hex.EncodeToString(h.Sum(nil)[:8]); got != want {
			t.Errorf("%s: gradients have digest %s, want %s", family, got, want)
		}
	}
}

// sameBits are the digests on an AVX-512 processor.
var sameBits = map[string]string{
	"llama": "699dd9574f31871a", "mistral": "28ea8e7ad2665bc9", "qwen2": "e76017f832e68c13", "qwen3": "c569ad4a6620632e", "gpt2": "f9d7e1e4480adf60",
}
