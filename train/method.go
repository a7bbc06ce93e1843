package train

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/loratool/loratool/internal/text"
	"github.com/loratool/loratool/train/internal/model"
)

// prepare adds to a model what the method trains, with its initial values.
func prepare(m *model.Model, o *Options) error {
	switch o.Method {
	case LoRA:
		return addUpdates(m, o)
	case Full:
		return thaw(m, m.WeightNames(false))
	case BitFit:
		names := m.WeightNames(true)
		if len(names) == 0 {
			return fmt.Errorf("method bitfit trains biases, and a %s has none", m.Family)
		}
		return thaw(m, names)
	case PreEmbed, PreLayer:
		if err := m.AddPrefix(o.Prefix, o.Infix, o.Method == PreLayer); err != nil {
			return err
		}
		return m.InitPrefix(newStream(o.Seed, streamInit, 0).tokens(o.Prefix+o.Infix, m.Vocab))
	case AdapterH:
		if err := m.AddAdapters(o.Bottleneck); err != nil {
			return err
		}
		initDown(m, o.Seed)
		return nil
	}
	return fmt.Errorf("method %q", o.Method)
}

func thaw(m *model.Model, names []string) error {
	for _, n := range names {
		if _, err := m.Thaw(n); err != nil {
			return err
		}
	}
	return nil
}

// tokens returns n token ids.
func (s *stream) tokens(n, vocab int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(s.below(vocab))
	}
	return ids
}

// initDown gives the down projections of bottlenecks the values of a fresh
// torch Linear; up projections stay 0, so that training begins at the base.
func initDown(m *model.Model, seed uint64) {
	if m.Hollow() {
		return
	}
	for i, p := range m.Params() {
		if strings.HasSuffix(p.Name, "down.weight") {
			m.Backend().Write(p.Value, uniform(newStream(seed, streamInit, i), p.Value.Rows, p.Value.Cols))
		}
	}
}

// uniform returns values of U(−1/√in, 1/√in): torch's kaiming_uniform with
// a = √5, as PEFT gives A.
func uniform(r *stream, rows, in int) []float32 {
	x, bound := make([]float32, rows*in), float32(1/math.Sqrt(float64(in)))
	for i := range x {
		x[i] = r.uniform() * bound
	}
	return x
}

// defaultTargets are PEFT's (TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING).
func defaultTargets(family string) []string {
	if family == "gpt2" {
		return []string{"c_attn"}
	}
	return []string{"q_proj", "v_proj"}
}

// targets returns the linears that the options name.
func targets(m *model.Model, o *Options) (list []*model.Linear, err error) {
	names := o.Targets
	if len(names) == 0 {
		names = defaultTargets(m.Family)
	}
	all, found := m.AllLinears(), map[string]bool{}
	for _, l := range all {
		for _, n := range names {
			if n == AllLinear || l.Path == n || m.Prefix+l.Path == n || strings.HasSuffix(l.Path, "."+n) {
				found[n] = true
				if !slices.Contains(list, l) {
					list = append(list, l)
				}
			}
		}
	}
	for _, n := range names {
		if !found[n] {
			return nil, noTarget(n, m, all)
		}
	}
	return list, nil
}

func noTarget(name string, m *model.Model, all []*model.Linear) error {
	var known []string
	for _, l := range all {
		if last := l.Path[strings.LastIndexByte(l.Path, '.')+1:]; !slices.Contains(known, last) {
			known = append(known, last)
		}
	}
	return fmt.Errorf("target %s is no linear of a %s's blocks; there are %s", text.Quote(name), m.Family, strings.Join(known, ", "))
}

// scaling returns s = α/r, or α/√r.
func (u *Update) scaling() float64 {
	if u.RsLoRA {
		return u.Alpha / math.Sqrt(float64(u.Rank))
	}
	return u.Alpha / float64(u.Rank)
}

// addUpdates adds low-rank updates: A random, B zero.
func addUpdates(m *model.Model, o *Options) error {
	list, err := targets(m, o)
	if err != nil {
		return err
	}
	frozen := 0
	if o.Init == "pissa" {
		frozen = o.Rank
	}
	for i, l := range list {
		u, err := m.AddLoRA(l, model.LoRAOptions{
			Rank: o.Rank, Alpha: o.Alpha, Scaling: o.scaling(), Dropout: float32(o.Dropout), DoRA: o.DoRA, Frozen: frozen,
		})
		if err != nil {
			return err
		}
		if o.Init == "pissa" {
			if err := principal(m, u, o); err != nil {
				return err
			}
			continue
		}
		if m.Hollow() {
			continue
		}
		m.SetFactors(u, uniform(newStream(o.Seed, streamInit, i), o.Rank, l.In), make([]float32, l.Out*o.Rank))
		if o.DoRA {
			if err := startMagnitude(m, u); err != nil {
				return err
			}
		}
	}
	return nil
}

// startMagnitude sets DoRA's magnitude to the norms of the rows of W. A row of
// zeros has no direction to be scaled: its output would be 0/0.
func startMagnitude(m *model.Model, u *model.LoRA) error {
	if err := m.NormMagnitude(u); err != nil {
		return err
	}
	norms := make([]float32, u.Magnitude.Cols)
	m.Backend().Read(norms, u.Magnitude)
	if i := slices.Index(norms, 0); i >= 0 {
		return fmt.Errorf("module %s: row %d of the weight is zero, which DoRA cannot scale; leave the module out of the targets", text.Quote(u.Path), i+1)
	}
	return nil
}
