//go:build cuda

package train

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/loratool/loratool/train/internal/backend"
	"github.com/loratool/loratool/train/internal/data"
)

// stepTolerance is how far losses may be apart on the CPU and on the GPU after
// a few steps, relative: both compute in float32, in other orders of sums.
const stepTolerance = 1e-5

// gradTolerance is how far gradients may be apart, of the largest of their
// parameter: sums of some thousand float32 terms in other orders, through five
// blocks and back.
const gradTolerance = 2e-4

// TestCUDA runs whole trainings of every method on both devices, from one
// start: the losses must agree, and after the last step, from equal values,
// every gradient. (Trained values need not: the first steps of Adam are as
// long for a gradient that is nothing but rounding as for any other.)
func TestCUDA(t *testing.T) {
	all := variants()
	own := all["lora"]
	own.Device.BLAS = "none"
	all["lora by own kernel"] = own
	for name, o := range all {
		t.Run(name, func(t *testing.T) {
			blas := o.Device.BLAS
			o.Steps, o.LR, o.Device = 3, 1e-3, Device{Exact: true}
			onCPU := randomTrainer(t, o)
			o.Device = Device{CUDA: true, BLAS: blas}
			onGPU := randomTrainer(t, o)
			want, got := run(t, onCPU), run(t, onGPU)
			for i := range want {
				if d := math.Abs(got[i]-want[i]) / want[i]; !(d <= stepTolerance) {
					t.Errorf("step %d: loss %.9g, the CPU has %.9g", i+1, got[i], want[i])
				}
			}
			sameGradients(t, onCPU, onGPU)
		})
	}
}

// randomTrainer trains on tokens at random: in a pattern the gradients of
// queries and keys cancel to nothing but rounding.
func randomTrainer(t *testing.T, o Options) *Trainer {
	t.Helper()
	var samples data.Sequences
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 24 {
		q := data.Sequence{}
		for j := range 12 + i%5 {
			q.Tokens = append(q.Tokens, int32(r.IntN(500)+3))
			q.Learn = append(q.Learn, j > 3)
		}
		samples = append(samples, q)
	}
	tr, err := New(storiesBase(t), samples, nil, o)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// sameGradients gives both the trained values of the first and compares the
// gradients of one micro-batch.
func sameGradients(t *testing.T, a, b *Trainer) {
	t.Helper()
	for i, p := range a.m.Params() {
		b.m.Backend().Write(b.m.Params()[i].Value, values(a, p.Value))
	}
	group := a.microBatches(0)[:1]
	for _, tr := range []*Trainer{a, b} {
		if _, err := tr.gradients(group); err != nil {
			t.Fatal(err)
		}
	}
	for i, p := range a.m.Params() {
		want, got := values(a, p.Grad), values(b, b.m.Params()[i].Grad)
		worst, top := 0.0, 0.0
		for j, x := range want {
			top = max(top, math.Abs(float64(x)))
			worst = max(worst, math.Abs(float64(got[j])-float64(x)))
		}
		if !(worst <= gradTolerance*max(top, 1e-6)) {
			t.Errorf("gradient of %s: off by %.2g, the largest is %.2g", p.Name, worst, top)
		}
	}
}

func values(t *Trainer, m backend.Mat) []float32 {
	x := make([]float32, m.Rows*m.Cols)
	t.m.Backend().Read(x, m)
	return x
}

// Two runs on a GPU give the same bits.
func TestCUDARepeats(t *testing.T) {
	o := quick(LoRA)
	o.Steps, o.Dropout, o.Device = 3, 0.1, Device{CUDA: true}
	a, b := newTrainer(t, o), newTrainer(t, o)
	run(t, a)
	run(t, b)
	for i, p := range a.m.Params() {
		x, y := values(a, p.Value), values(b, b.m.Params()[i].Value)
		for j := range x {
			if x[j] != y[j] {
				t.Fatalf("%s[%d]: %g and %g", p.Name, j, x[j], y[j])
			}
		}
	}
}

func TestCUDARefuses(t *testing.T) {
	o := quick(LoRA)
	o.Device, o.Batch, o.MaxLen = Device{CUDA: true}, 1<<16, 512
	_, err := New(storiesBase(t), pattern(3), nil, o)
	if err == nil || !strings.Contains(err.Error(), "of GPU memory") {
		t.Errorf("too little memory: %v", err)
	}
}
