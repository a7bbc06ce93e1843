package train

import (
	"math"

	"github.com/loratool/loratool/train/internal/backend"
	"github.com/loratool/loratool/train/internal/model"
)

// A moments is the state of AdamW for one parameter.
type moments struct{ m, v backend.Mat }

// An adamW updates the parameters of a model.
type adamW struct {
	o       *Optimizer
	m       *model.Model
	moments []moments
	powers  [2]float64 // β₁ᵗ and β₂ᵗ
}

func newAdamW(m *model.Model, o *Optimizer) (*adamW, error) {
	a := &adamW{o: o, m: m, powers: [2]float64{1, 1}}
	for _, p := range m.Params() {
		var pair [2]backend.Mat
		for i := range pair {
			mem, err := m.Backend().Alloc(p.Value.Rows * p.Value.Cols)
			if err != nil {
				return nil, err
			}
			pair[i] = backend.Dense(mem, p.Value.Rows, p.Value.Cols)
		}
		a.moments = append(a.moments, moments{pair[0], pair[1]})
	}
	return a, nil
}

// norm returns the norm of all gradients.
func (a *adamW) norm() float64 {
	sum := 0.0
	for _, p := range a.m.Params() {
		sum += a.m.Backend().SumSq(p.Grad)
	}
	return math.Sqrt(sum)
}

// step updates the parameters from their gradients, whose norm is given, and
// clears them.
func (a *adamW) step(lr, norm float64) {
	a.powers[0] *= a.o.Beta1
	a.powers[1] *= a.o.Beta2
	scale := 1.0
	if a.o.Clip > 0 {
		scale = min(1, a.o.Clip/(norm+1e-6)) // torch.nn.utils.clip_grad_norm_
	}
	for i, p := range a.m.Params() {
		n := backend.Adam{
			LR: lr, Beta1: a.o.Beta1, Beta2: a.o.Beta2, Eps: a.o.Eps, Decay: a.o.WeightDecay,
			C1: 1 - a.powers[0], C2: 1 - a.powers[1], GradScale: scale,
		}
		if p.Vector {
			n.Decay = 0
		}
		if p.Up {
			n.LR *= a.o.LoRAPlus
		}
		a.m.Backend().AdamW(p.Value, p.Grad, a.moments[i].m, a.moments[i].v, n)
		a.m.Backend().Zero(p.Grad)
	}
}

// at sets the powers as they are after a number of steps.
func (a *adamW) at(steps int) {
	a.powers = [2]float64{1, 1}
	for range steps {
		a.powers[0] *= a.o.Beta1
		a.powers[1] *= a.o.Beta2
	}
}
