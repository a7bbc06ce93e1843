package train

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/internal/strictjson"
	"github.com/loratool/loratool/train/internal/backend"
	"github.com/loratool/loratool/train/internal/backend/cuda"
	"github.com/loratool/loratool/train/internal/data"
	"github.com/loratool/loratool/train/internal/model"
)

// A SelfTestReport says whether a GPU agrees with the CPU, and how fast it is.
type SelfTestReport struct {
	cuda.Info
	Checks []cuda.Check `json:"checks"`
	Speeds []Speed      `json:"speeds,omitempty"`
	OK     bool         `json:"ok"`
}

// A Speed is what was timed.
type Speed struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

// SelfTest compares every operation of a GPU with the CPU's and, unless quick,
// times products and training.
func SelfTest(d Device, quick bool) (*SelfTestReport, error) {
	checks, info, err := cuda.Compare(d.options())
	if err != nil {
		return nil, err
	}
	r := &SelfTestReport{Info: info, Checks: checks, OK: true}
	for _, c := range checks {
		r.OK = r.OK && c.OK
	}
	if quick {
		return r, nil
	}
	b, _, err := cuda.New(d.options())
	if err != nil {
		return nil, err
	}
	for _, measure := range []func(backend.Backend) (Speed, error){productSpeed, trainingSpeed} {
		s, err := measure(b)
		if err != nil {
			return nil, err
		}
		r.Speeds = append(r.Speeds, s)
	}
	return r, nil
}

// productSpeed times the product of a square of activations and one of BF16
// weights.
func productSpeed(b backend.Backend) (s Speed, err error) {
	const n, times = 4096, 10
	var mats [3]backend.Mat
	for i := range mats {
		var m backend.Mem
		if i == 1 {
			m, err = b.Frozen(dtype.BF16, make([]byte, 2*n*n))
		} else {
			m, err = b.Alloc(n * n)
		}
		if err != nil {
			return s, err
		}
		defer b.Free(m)
		mats[i] = backend.Dense(m, n, n)
	}
	multiply := func() { b.Gemm(mats[0], false, backend.Product{C: mats[2], B: mats[1], TB: true}) }
	multiply()
	if err := b.Err(); err != nil {
		return s, err
	}
	start := time.Now()
	for range times {
		multiply()
	}
	err = b.Err()
	flops := 2 * float64(n) * n * n * times
	return Speed{fmt.Sprintf("products of %d × %d with BF16 weights", n, n), flops / time.Since(start).Seconds() / 1e12, "TFLOP/s"}, err
}

// smolLM2 is the config of SmolLM2-135M.
const smolLM2 = `{"model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
	"num_key_value_heads": 3, "vocab_size": 49152, "max_position_embeddings": 8192, "rope_theta": 100000, "rms_norm_eps": 1e-05, "tie_word_embeddings": true}`

// randomWeights makes weights of any name as they are asked for.
type randomWeights struct {
	shapes map[string][]int
	rand   *rand.Rand
}

// Tensor returns BF16 values of about the size that a trained model has.
func (w randomWeights) Tensor(name string) (model.Stored, bool) {
	shape, ok := w.shapes[name]
	if !ok {
		return model.Stored{}, false
	}
	n := 1
	for _, d := range shape {
		n *= d
	}
	raw := make([]byte, 2*n)
	for i := 0; i < len(raw); i += 2 {
		word := w.rand.Uint32()
		raw[i], raw[i+1] = byte(word), byte(0x3C|word>>8&0x80) // ±0.0078 to ±0.0156
	}
	return model.Stored{DType: dtype.BF16, Shape: shape, Bytes: raw}, true
}

// trainingSpeed times steps forward and backward of LoRA on all linears.
func trainingSpeed(b backend.Backend) (s Speed, err error) {
	config, err := strictjson.Decode([]byte(smolLM2))
	if err != nil {
		return s, err
	}
	d, err := model.Describe(config)
	if err != nil {
		return s, err
	}
	w := randomWeights{map[string][]int{}, rand.New(rand.NewPCG(1, 2))}
	for _, t := range d.Tensors() {
		w.shapes[d.Prefix()+t.Name] = t.Shape
	}
	m, err := model.Open(b, d, w)
	if err != nil {
		return s, err
	}
	o := Defaults()
	o.Targets, o.Rank = []string{AllLinear}, 16
	if err := prepare(m, &o); err != nil {
		return s, err
	}
	const sequences, tokens, steps = 4, 256, 5
	var batch []data.Sequence
	for range sequences {
		q := data.Sequence{Tokens: make([]int32, tokens), Learn: make([]bool, tokens)}
		for i := range q.Tokens {
			q.Tokens[i], q.Learn[i] = w.rand.Int32N(int32(d.Vocab)), true
		}
		batch = append(batch, q)
	}
	var start time.Time
	for i := range steps + 1 {
		if i == 1 {
			start = time.Now() // the first step makes room and loads kernels
		}
		if _, err := m.Step(data.NewBatch(batch...), 1.0/(sequences*tokens), 0, backend.Key{}); err != nil {
			return s, err
		}
	}
	err = b.Err()
	return Speed{"training of 135 M parameters, LoRA r = 16 on all linears, 4 × 256 tokens", sequences * tokens * steps / time.Since(start).Seconds(), "tokens/s"}, err
}
