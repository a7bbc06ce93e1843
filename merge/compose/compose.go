// Package compose makes one adapter out of adapters: sums, differences and the
// rules of model merging, one adapter at a lower rank, a plain LoRA from an
// adapter whose initialisation changed the base. It works on the factors
// wherever the rule allows and writes no files.
package compose

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/internal/lowrank"
	"github.com/loratool/loratool/internal/mmap"
	"github.com/loratool/loratool/internal/text"
)

// A Weighted is an adapter and its coefficient.
type Weighted struct {
	*adapter.Adapter
	Weight float64
}

// Options say how adapters are composed. The zero value is their exact sum.
type Options struct {
	Method  Method
	Dialect Dialect
	// Rank is the rule for the ranks of the result. Without it (nil) they are:
	// for sum and linear the least that keep the sum exact, for cat all ranks
	// together, else the largest rank of the module in the adapters.
	Rank *lowrank.Rules
	// Density is the share of elements that trimming or dropping leaves.
	Density float64
	// Seed starts the random numbers of the DARE rules.
	Seed uint64
	// Modules are weights by module, which multiply those of the adapters.
	Modules []ModuleWeights
	// DType is the dtype of the result's factors; 0 (BOOL): that of the adapters'.
	DType dtype.DType
	// Skip leaves out the parts whose names match one of these globs.
	Skip []string
	// AnyBase composes adapters that name different bases.
	AnyBase bool
	// Workers is the number of goroutines, 0 for one per processor. The result
	// does not depend on it.
	Workers int
	// Progress, if set, is called with the bytes of factors that are done, from
	// several goroutines.
	Progress func(done, total int64)
}

// Compose returns the composed adapter and what was done. Its tensors may be
// views of the adapters'. What has no defined result is a *rule.Unsupported.
func Compose(ctx context.Context, adapters []Weighted, o Options) (*adapter.Adapter, *Report, error) {
	c, err := newComposition(adapters, o)
	if err != nil {
		return nil, nil, err
	}
	return c.run(ctx)
}

// A composition is one run.
type composition struct {
	adapters []Weighted
	options  Options
	rule     methodRule
	groups   []*group
	global   []float64 // thresholds of the whole adapters, for rules that have them
	report   *Report
}

func newComposition(adapters []Weighted, o Options) (*composition, error) {
	rule, err := o.rule()
	if err != nil {
		return nil, err
	}
	c := &composition{options: o, rule: rule}
	for _, w := range adapters {
		named, err := nameParameters(w.Adapter)
		if err != nil {
			return nil, err
		}
		c.adapters = append(c.adapters, Weighted{named, w.Weight})
	}
	if err := c.compatible(); err != nil {
		return nil, err
	}
	if c.groups, err = c.gather(); err != nil {
		return nil, err
	}
	c.report = c.newReport()
	return c, nil
}

func (c *composition) run(ctx context.Context) (*adapter.Adapter, *Report, error) {
	if err := c.thresholds(ctx); err != nil {
		return nil, nil, err
	}
	ranks, err := c.allocate(ctx)
	if err != nil {
		return nil, nil, err
	}
	made := make([]*result, len(c.groups))
	err = c.each(ctx, true, func(i int, g *group) (err error) {
		made[i], err = c.module(g, ranks[i])
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	out, err := c.assemble(made)
	if err != nil {
		return nil, nil, err
	}
	return out, c.report, nil
}

// each calls do for every group of modules on the workers of the options, and
// returns the error of the first group that failed.
func (c *composition) each(ctx context.Context, tell bool, do func(i int, g *group) error) error {
	errs := make([]error, len(c.groups))
	var next, done atomic.Int64
	total := c.bytes()
	var work sync.WaitGroup
	for range min(c.options.workers(), len(c.groups)) {
		work.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(errs) && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				err := mmap.Guard(func() { errs[i] = do(i, c.groups[i]) }) // factors are views of mapped files
				if errs[i] = cmp.Or(errs[i], err); errs[i] != nil {
					return
				}
				if tell && c.options.Progress != nil {
					c.options.Progress(done.Add(c.groups[i].bytes()), total)
				}
			}
		})
	}
	work.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// bytes is the size of the factors of all adapters.
func (c *composition) bytes() (n int64) {
	for _, g := range c.groups {
		n += g.bytes()
	}
	return n
}

func (o Options) workers() int {
	if o.Workers > 0 {
		return o.Workers
	}
	return runtime.GOMAXPROCS(0)
}

// allocate decides the ranks of a budget; without one they are -1, and each
// module's own rule decides.
func (c *composition) allocate(ctx context.Context) ([]int, error) {
	ranks := make([]int, len(c.groups))
	for i := range ranks {
		ranks[i] = -1
	}
	if c.options.Rank == nil {
		return ranks, nil
	}
	names := make([]string, len(c.groups))
	for i, g := range c.groups {
		names[i] = g.name
	}
	if c.rule.kind == sideBySide || c.rule.kind == factorwise {
		return nil, fmt.Errorf("the ranks of method %s are those of the adapters; use method svd to choose", c.options.Method)
	}
	if err := c.options.Rank.Check(names); err != nil {
		return nil, err
	}
	limit, ok := c.options.Rank.Budget()
	if !ok {
		return ranks, nil
	}
	if c.rule.kind == elementwise {
		return nil, fmt.Errorf("a budget needs all singular values, which method %s does not compute; compose at a rank and re-rank the result", c.options.Method)
	}
	costs := make([]lowrank.Cost, len(c.groups))
	err := c.each(ctx, false, func(i int, g *group) (err error) {
		costs[i], err = c.cost(g)
		return err
	})
	if err != nil {
		return nil, err
	}
	fixed := c.fixedBytes()
	if limit <= fixed {
		return nil, fmt.Errorf("a budget of %s is too small: names, and tensors without a rank, take %s", text.Bytes(limit), text.Bytes(fixed))
	}
	return lowrank.Allocate(limit-fixed, costs)
}
