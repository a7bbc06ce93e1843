// Package normalize rewrites adapters so that a program with limits computes
// the same function: scalings are folded into the factors, ranks padded,
// missing modules added as zeros. What a program cannot carry is refused. It
// proves that no delta changed by more than rounding.
package normalize

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/binding"
	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/note"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/format/validate"
	"github.com/loratool/loratool/internal/mmap"
)

// Options change what Apply makes. The zero value is the default.
type Options struct {
	// KeepDType rounds folded factors to the dtype that they have. Otherwise an
	// adapter of 16 bits becomes F32 where a scaling is no power of two.
	KeepDType bool
	// Base, if not nil, is the base of the adapter: modules that are fused in
	// the adapter but not in the base are split.
	Base  *checkpoint.Checkpoint
	Force bool // replace an adapter that exists
}

// A Report says what Apply did.
type Report struct {
	Output    string  `json:"output"`
	Profile   string  `json:"profile"`
	Modules   int     `json:"modules"`
	Folded    int     `json:"folded"` // modules whose scaling went into B
	Padded    int     `json:"padded"` // modules whose rank was raised
	Added     int     `json:"added"`  // modules of zeros for layers that had none
	Split     int     `json:"split"`  // fused modules that were split
	DType     string  `json:"dtype,omitempty"`
	Rank      int     `json:"rank"`    // the largest
	Scaling   float64 `json:"scaling"` // of the first module, after
	Error     float64 `json:"max_relative_error"`
	Tolerance float64 `json:"tolerance"`
}

// Apply rewrites the adapter of f for a program and writes it to the folder
// out. The relative error ‖ΔW' − ΔW‖/‖ΔW‖ of every module is measured; more
// than the tolerance is an error.
func Apply(ctx context.Context, out string, f *dialect.File, p *validate.Profile, o Options) (*Report, error) {
	if err := f.Mergeable(); err != nil {
		return nil, err
	}
	n := &normalizer{f: f, p: p, o: o, report: Report{Output: out, Profile: p.Name}}
	var err error
	if n.source, n.report.Split, err = split(f.Adapter, o.Base); err != nil {
		return nil, err
	}
	fault := mmap.Guard(func() { err = n.rewrite(ctx) }) // factors are views of mapped files
	if err = cmp.Or(err, fault); err != nil {
		return nil, err
	}
	if err := n.write(ctx); err != nil {
		return nil, err
	}
	return &n.report, nil
}

// rewrite makes the modules and measures what became of their deltas.
func (n *normalizer) rewrite(ctx context.Context) error {
	n.choose()
	for _, m := range n.source {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := n.module(m); err != nil {
			return err
		}
	}
	if n.p.Limited("PF016") {
		n.fillGaps()
	}
	return n.prove(ctx)
}

type normalizer struct {
	f       *dialect.File
	p       *validate.Profile
	o       Options
	scaling float64           // that every module is to have; 0: its own
	alpha   float64           // that every module is to have, whatever its rank; 0: no such
	rank    int               // that every module is to have; 0: its own
	widen   bool              // factors become F32
	source  []*adapter.Module // of the adapter, split
	modules []*adapter.Module
	report  Report
}

// own is the scaling of a module without its multiplicity.
func own(m *adapter.Module) float64 { return m.Scaling() / m.Multiplicity }

// choose decides which scaling and rank all modules get: the most common
// scaling, so that most factors stay as they are, and the largest rank.
func (n *normalizer) choose() {
	alphas := n.p.Limited("PF006") && n.p.RanksFromTensors
	count, best := map[float64]int{}, 1.0
	for _, m := range n.source {
		n.rank = max(n.rank, m.Rank)
		s := own(m)
		if alphas {
			s = alphaFor(s, m.Rank)
		}
		if s > 0 {
			if count[s]++; count[s] > count[best] || count[s] == count[best] && s < best {
				best = s
			}
		}
	}
	n.report.Rank = n.rank
	if !n.p.Limited("PF005") {
		n.rank = 0
	}
	switch {
	case n.p.Limited("PF019"):
		n.scaling = 1
	case alphas:
		n.alpha = best
	case n.p.Limited("PF006"):
		n.scaling = best
	}
	for _, m := range n.source {
		if f, _ := math.Frexp(n.factor(m)); f != 0.5 && f != -0.5 && !n.o.KeepDType {
			n.widen = n.widen || m.A.DType != dtype.F64
		}
	}
	n.widen = n.widen && slices.ContainsFunc(n.source, func(m *adapter.Module) bool { return m.B.DType.Bits() < 32 })
}

// target is the scaling that a module is to have.
func (n *normalizer) target(m *adapter.Module) float64 {
	switch {
	case n.alpha != 0:
		return n.alpha / float64(max(m.Rank, n.rank))
	case n.scaling != 0:
		return n.scaling
	}
	return own(m)
}

// factor is what B is multiplied with.
func (n *normalizer) factor(m *adapter.Module) float64 {
	if s := n.target(m); own(m) != s {
		return own(m) / s
	}
	return 1
}

// module makes the module of the output.
func (n *normalizer) module(m *adapter.Module) error {
	c := *m
	if k := n.factor(m); k != 1 || n.widen {
		b := m.B.Float64s()
		for i := range b {
			b[i] *= k
		}
		dt := m.B.DType
		if n.widen {
			dt = dtype.F32
			n.report.DType = dt.String()
			c.A = named(m.A, adapter.NewTensor(dt, m.A.Shape, m.A.Float64s()))
		}
		c.B = named(m.B, adapter.NewTensor(dt, m.B.Shape, b))
		if k != 1 {
			n.report.Folded++
		}
	}
	if n.rank > m.Rank {
		if m.Kind == adapter.Stack || len(m.Candidates) > 0 {
			return &rule.Unsupported{File: n.f.Source, What: fmt.Sprintf("padding the rank of %q, a stack of experts", m.Name()), Hint: "merge the adapter instead"}
		}
		pad(&c, n.rank)
		n.report.Padded++
	}
	switch s := n.target(m); {
	case n.alpha != 0:
		c.Rule, c.Alpha = adapter.AlphaOverRank, n.alpha
	case n.scaling != 0 || n.p.Limited("PF007") || c.Rank != m.Rank:
		c.Rule, c.Alpha = adapter.AlphaOverRank, alphaFor(s, c.Rank)
	}
	n.modules = append(n.modules, &c)
	return nil
}

func named(old, t adapter.Tensor) adapter.Tensor {
	t.Name = old.Name
	return t
}

// alphaFor returns α with α/r = s in float64, or the nearest there is.
func alphaFor(s float64, rank int) float64 {
	r := float64(rank)
	for _, a := range []float64{s * r, math.Nextafter(s*r, 0), math.Nextafter(s*r, math.Inf(1))} {
		if a/r == s {
			return a
		}
	}
	return s * r
}

// pad adds rows of zeros to A and columns of zeros to B.
func pad(m *adapter.Module, rank int) {
	a, b := m.A, m.B
	size := func(t adapter.Tensor) int { return t.DType.Bits() / 8 }
	m.A.Shape = append([]int{rank}, a.Shape[1:]...)
	m.A.Bytes = append(slices.Clone(a.Bytes), make([]byte, (rank-m.Rank)*len(a.Bytes)/m.Rank)...)
	m.B.Shape = slices.Clone(b.Shape)
	m.B.Shape[1] = rank
	old, wide := b.Shape[1]*size(b), rank*size(b)
	m.B.Bytes = make([]byte, b.Shape[0]*wide)
	for i := range b.Shape[0] {
		copy(m.B.Bytes[i*wide:], b.Bytes[i*old:][:old])
	}
	m.Rank = rank
}

// fillGaps adds modules of zeros to layers that lack a type of module which
// others have.
func (n *normalizer) fillGaps() {
	have, layers := map[string]bool{}, 0
	for _, m := range n.modules {
		have[m.Path] = true
		if _, i, _, ok := validate.SplitLayer(m.Path); ok {
			layers = max(layers, i+1)
		}
	}
	for _, m := range slices.Clone(n.modules) {
		before, _, after, ok := validate.SplitLayer(m.Path)
		for i := range layers {
			path := strings.TrimPrefix(fmt.Sprintf("%s.%d%s", before, i, after), ".")
			if !ok || have[path] {
				continue
			}
			have[path] = true
			zero := *m
			zero.Path = path
			zero.A.Bytes, zero.B.Bytes = make([]byte, len(m.A.Bytes)), make([]byte, len(m.B.Bytes))
			n.modules = append(n.modules, &zero)
			n.report.Added++
		}
	}
}

// write writes the adapter, reads it again and holds it against the profile
// and against what was to be written.
func (n *normalizer) write(ctx context.Context) error {
	a := *n.f.Adapter
	a.Modules = n.modules
	if broken := n.p.Broken(n.f, &a); broken != nil {
		return &rule.Unsupported{File: n.f.Source, Rule: broken.Rule, What: fmt.Sprintf("for %s, %v", n.p.Program, broken.Err), Hint: rule.Cure(broken.Rule)}
	}
	metadata, err := n.binding(ctx, &a)
	if err != nil {
		return err
	}
	inputs := []string{n.f.Source}
	if n.o.Base != nil {
		inputs = append(inputs, n.o.Base.Inputs()...)
	}
	err = dialect.WritePEFT(n.report.Output, &a, dialect.WriteOptions{Config: n.f.Config, From: n.f, NewRanks: n.p.OneScale, KeepTargets: n.keepsTargets(),
		Metadata: metadata, Inputs: inputs, Force: n.o.Force})
	if err != nil {
		return err
	}
	return n.readBack()
}

// keepsTargets reports whether target_modules may stay as it is.
func (n *normalizer) keepsTargets() bool {
	targets := n.f.Field("target_modules")
	return n.report.Added+n.report.Split == 0 && targets != "" && targets != "null" && !(n.p.ListTargets && strings.HasPrefix(targets, `"`))
}

// binding binds what is written to the base, where other modules than before
// are bound to it.
func (n *normalizer) binding(ctx context.Context, a *adapter.Adapter) (map[string]string, error) {
	if n.o.Base == nil || !n.f.Bound() || n.report.Added+n.report.Split == 0 {
		return nil, nil
	}
	if err := binding.Check(ctx, n.f.Adapter, n.o.Base, binding.Options{}); err != nil {
		return nil, err
	}
	weights, err := binding.Compute(ctx, a, n.o.Base, binding.Options{})
	return (&note.Notes{Base: weights}).Metadata(), err
}

// readBack makes sure that what a reader gets is what was proven.
func (n *normalizer) readBack() error {
	f, err := dialect.OpenPEFT(n.report.Output)
	if err != nil {
		return fmt.Errorf("read the output again: %w", err)
	}
	defer f.Close()
	byName := map[string]*adapter.Module{}
	key := func(m *adapter.Module) string { return fmt.Sprintf("%d %s", m.Depth, m.Name()) }
	for _, m := range f.Modules {
		byName[key(m)] = m
	}
	for _, m := range n.modules {
		g := byName[key(m)]
		if g == nil || g.Scaling() != m.Scaling() || g.Rank != m.Rank || string(g.A.Bytes) != string(m.A.Bytes) || string(g.B.Bytes) != string(m.B.Bytes) {
			return fmt.Errorf("module %q is not read as it was written", m.Name())
		}
	}
	return nil
}
