package diff

import (
	"context"
	"math"
	"slices"

	"github.com/loratool/loratool/format/adapter/names"
	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/internal/lowrank"
)

// A BasesReport says how a second checkpoint differs from a first.
type BasesReport struct {
	A         string          `json:"a"`
	B         string          `json:"b"`
	Relative  float64         `json:"relative"` // ‖Δ‖/‖W‖ over the tensors that changed
	Changed   []ChangedTensor `json:"changed,omitempty"`
	Added     []string        `json:"added,omitempty"`
	Removed   []string        `json:"removed,omitempty"`
	Unchanged int             `json:"unchanged"`
}

// A ChangedTensor is one that both checkpoints have, with other values, shape
// or dtype.
type ChangedTensor struct {
	Tensor     string    `json:"tensor"`
	Module     string    `json:"module"`
	DType      string    `json:"dtype"`
	NewDType   string    `json:"new_dtype,omitempty"` // if it is another
	Shape      []int     `json:"shape"`
	NewShape   []int     `json:"new_shape,omitempty"`
	Relative   *float64  `json:"relative,omitempty"` // ‖Δ‖/‖W‖, nil where values were not compared
	Norm       *float64  `json:"norm,omitempty"`
	Elements   float64   `json:"elements_changed"` // share of the elements
	NoiseFloor float64   `json:"noise_floor,omitempty"`
	Rank       int       `json:"rank"` // singular values above the rounding noise, of matrices
	FullRank   bool      `json:"full_rank,omitempty"`
	StableRank float64   `json:"stable_rank,omitempty"`
	Spectrum   []float64 `json:"spectrum,omitempty"` // leading singular values of Δ, lower bounds
}

// CompareOptions say how two checkpoints are compared.
type CompareOptions struct {
	ShapesOnly bool // read no values
	Exclude    []string
	Names      names.Rules
	Seed       uint64
	Workers    int
	Memory     int64
	Progress   func(done, total int64)
}

// spectrumRank is the largest rank that a comparison looks for.
const spectrumRank = 64

// CompareBases compares two checkpoints tensor by tensor.
func CompareBases(ctx context.Context, a, b *checkpoint.Checkpoint, o CompareOptions) (*BasesReport, error) {
	p, err := PlanExtract(a, b, ExtractOptions{Rank: lowrank.Rules{Rule: lowrank.Auto()}, MaxRank: spectrumRank, Exclude: o.Exclude, Names: o.Names,
		Seed: o.Seed, Workers: o.Workers, Memory: o.Memory, Progress: o.Progress})
	if err != nil {
		return nil, err
	}
	r := &BasesReport{Added: p.pair.Added, Removed: p.pair.Removed}
	found := make([]*ChangedTensor, len(p.jobs))
	if !o.ShapesOnly {
		index := map[*job]int{}
		for i, j := range p.jobs {
			index[j] = i
		}
		err = p.each(ctx, func(j *job) (err error) {
			found[index[j]], err = p.compare(j)
			return err
		})
		if err == nil {
			err = p.pair.unchanged()
		}
		if err != nil {
			return nil, err
		}
	}
	base, change := 0.0, 0.0
	for i, j := range p.jobs {
		c := found[i]
		if o.ShapesOnly && (!slices.Equal(j.base.Shape, j.tuned.Shape) || j.base.DType != j.tuned.DType) {
			c = p.changed(j)
		}
		if c == nil {
			r.Unchanged++
			continue
		}
		base, change = base+j.stats.base2, change+j.stats.delta2
		r.Changed = append(r.Changed, *c)
	}
	slices.SortFunc(r.Changed, func(x, y ChangedTensor) int { return compareNames(x.Tensor, y.Tensor) })
	r.Relative = ratio(change, base)
	return r, nil
}

// changed describes a tensor by its header.
func (p *ExtractPlan) changed(j *job) *ChangedTensor {
	c := &ChangedTensor{Tensor: j.name, Module: p.pair.module(j.name), DType: j.base.DType.String(), Shape: append([]int{}, j.base.Shape...)}
	if j.tuned.DType != j.base.DType {
		c.NewDType = j.tuned.DType.String()
	}
	if !slices.Equal(j.base.Shape, j.tuned.Shape) {
		c.NewShape = append([]int{}, j.tuned.Shape...)
	}
	return c
}

// compare looks at the values of one tensor; nil if they are the same.
func (p *ExtractPlan) compare(j *job) (*ChangedTensor, error) {
	same, err := p.pair.equal(j.match)
	if err != nil || same || j.why == "excluded" {
		return nil, err
	}
	c := p.changed(j)
	var planes []plane
	if j.action == factorize {
		planes, c.Rank, err = p.planes(j, j.rule)
	} else {
		err = p.measure(j)
	}
	if err != nil {
		return nil, err
	}
	if j.same && c.NewDType == "" && c.NewShape == nil {
		return nil, nil
	}
	if !j.stats.unknown {
		norm := math.Sqrt(j.stats.delta2)
		c.Norm, c.Relative, c.NoiseFloor = &norm, j.stats.relative(), ratio(j.stats.noise2, j.stats.delta2)
		c.Elements = float64(j.stats.changed) / float64(max(1, j.base.Elements()))
	}
	for _, pl := range planes {
		c.FullRank = c.FullRank || pl.found.full
		if s := pl.found.sigma(); len(c.Spectrum) == 0 || len(s) > 0 && s[0] > c.Spectrum[0] {
			c.Spectrum = s
		}
	}
	if len(c.Spectrum) > 0 && c.Spectrum[0] > 0 {
		c.StableRank = j.stats.delta2 / (c.Spectrum[0] * c.Spectrum[0])
	}
	return c, nil
}
