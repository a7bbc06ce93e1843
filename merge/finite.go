package merge

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/internal/mmap"
)

// finite reports whether x is neither NaN nor infinite.
func finite[T ~float32 | ~float64](x T) bool {
	return !math.IsNaN(float64(x)) && !math.IsInf(float64(x), 0)
}

// isFinite reports whether bits of d are a finite value.
func isFinite(d dtype.DType, bits uint64) bool {
	if bits == d.SignBit() {
		return d.NegativeZero()
	}
	return bits&^d.SignBit() <= d.MaxMagnitude()
}

// notFinite is the error about a tensor of an adapter with such values.
func notFinite(t adapter.Tensor) *rule.Error {
	first, count := t.DType.NotFinite(t.Bytes)
	return &rule.Error{Tensor: t.Name, Rule: "AD017", Err: fmt.Errorf("%d of %d values are NaN or infinite, the first at index %d", count, t.Elements(), first),
		Hint: "the training diverged; use an earlier checkpoint of the adapter"}
}

// allFinite reports whether a tensor has no NaN and no infinity.
func allFinite(t adapter.Tensor) bool {
	special, _ := t.DType.Inspect(t.Bytes)
	return !special
}

func overflow(ch *change, row, col int, w float64) error {
	return &rule.Error{Tensor: ch.out.Name, Rule: "AD045",
		Err:  fmt.Errorf("merged value at [%d %d] is not finite in %v (base value %g)", row, col, ch.out.DType, w),
		Hint: "check the adapter's scaling, or write a wider dtype with --dtype"}
}

// suspect warns of values that take the place of the base's and are not
// finite. In a factor they are an error, here they may be meant (AD017).
func (p *Plan) suspect(ctx context.Context, r *Report) error {
	for _, name := range p.targets.names {
		t := p.targets.byName[name]
		if t.replace != nil {
			if err := r.suspect(ctx, t.replace.by, t.replace.Value); err != nil {
				return err
			}
		}
		for _, rows := range t.rows {
			if err := r.suspect(ctx, rows.by, rows.Rows); err != nil {
				return err
			}
		}
	}
	return nil
}

// suspectBytes is how much is looked at before the context is, a multiple of
// every element.
const suspectBytes = 8 << 20

func (r *Report) suspect(ctx context.Context, by *Weighted, t adapter.Tensor) error {
	if !t.DType.Float() {
		return nil
	}
	return errors.Join(mmap.Guard(func() {
		for block := range slices.Chunk(t.Bytes, suspectBytes) {
			if ctx.Err() != nil {
				return
			}
			if special, _ := t.DType.Inspect(block); special {
				e := notFinite(t)
				e.File, e.Milder = by.Source, rule.Warning
				r.Warnings = append(r.Warnings, e.Error())
				return
			}
		}
	}), context.Cause(ctx))
}

// blame names the adapter in an error about one of its factors, which is found
// where only tensors are known.
func (p *Plan) blame(err error) error {
	e, ok := errors.AsType[*rule.Error](err)
	if !ok || e.File != "" || e.Rule != "AD017" {
		return err
	}
	for _, a := range p.adapters {
		for _, m := range a.Modules {
			for _, t := range []*adapter.Tensor{&m.A, &m.B, m.Bias, m.Magnitude} {
				// Adapters of the same modules have the same names.
				if t != nil && t.Name == e.Tensor && mmap.Guard(func() { ok = allFinite(*t) }) == nil && !ok {
					e.File = a.Source
					return err
				}
			}
		}
	}
	return err
}
