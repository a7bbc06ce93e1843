// Package binding ties an adapter to the base it was trained for: it computes
// digests of the weights that the adapter adapts, and holds those that an
// adapter carries against a base. How they are written in a file is for
// package note to know.
package binding

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/note"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/internal/mmap"
)

// Options change how digests are computed. The zero value is the default.
type Options struct {
	// Progress is called from several goroutines with the bytes digested since
	// the last call. May be nil.
	Progress func(bytes int64)
	Names    adapter.Rules // added to the map of names on disk and in memory
}

// A weight is one weight of the base as the adapter sees it.
type weight struct {
	note.Weight
	update *adapter.Update // nil for a whole tensor
	tensor string          // for a whole tensor
}

// Compute returns the entry of every weight and bias that a adapts, sorted by
// name. Modules that the base does not have are an error.
func Compute(ctx context.Context, a *adapter.Adapter, base *checkpoint.Checkpoint, o Options) ([]note.Weight, error) {
	weights, missing, err := resolve(a, base, o.Names)
	if err != nil {
		return nil, err
	}
	if len(missing) > 0 {
		m := missing[0]
		return nil, &rule.Error{File: a.Source, Tensor: m.Name, Rule: "AD028", Err: fmt.Errorf("the base has no tensor %q", m.Tensor)}
	}
	if err := digest(ctx, weights, base, o); err != nil {
		return nil, err
	}
	out := make([]note.Weight, len(weights))
	for i, w := range weights {
		out[i] = w.Weight
	}
	return out, base.Unchanged()
}

// Check holds the binding of a against a base. The first weight that differs
// breaks LT007 and is named. An adapter without binding
// passes, but for copies of the base's weights that are others (AD049).
func Check(ctx context.Context, a *adapter.Adapter, base *checkpoint.Checkpoint, o Options) error {
	return check(ctx, a, base, o, true)
}

// CheckShapes is Check without reading values: dtypes and shapes only.
func CheckShapes(a *adapter.Adapter, base *checkpoint.Checkpoint, o Options) error {
	return check(context.Background(), a, base, o, false)
}

func check(ctx context.Context, a *adapter.Adapter, base *checkpoint.Checkpoint, o Options, values bool) error {
	if err := checkCopies(a, base, values); err != nil || !a.Bound() {
		return err
	}
	weights, _, err := resolve(a, base, o.Names) // what is missing, others complain about
	if err != nil {
		return err
	}
	bound := make(map[string]note.Weight, len(a.Notes.Base))
	for _, w := range a.Notes.Base {
		bound[w.Name] = w
	}
	weights = slices.DeleteFunc(weights, func(w weight) bool { _, ok := bound[w.Name]; return !ok }) // LT012 is about these
	for _, w := range weights {
		if b := bound[w.Name]; w.DType != b.DType || !slices.Equal(w.Shape, b.Shape) {
			return mismatch(a, w, "is %v %v in the base, the adapter is bound to %v %v", w.DType, w.Shape, b.DType, b.Shape)
		}
	}
	if !values {
		return nil
	}
	if err := digest(ctx, weights, base, o); err != nil {
		return err
	}
	for _, w := range weights {
		if b := bound[w.Name]; w.Digest != b.Digest {
			return mismatch(a, w, "has other values in the base than the adapter is bound to (sha256 %.12s…, bound to %.12s…)", w.Digest, b.Digest)
		}
	}
	return nil
}

func mismatch(a *adapter.Adapter, w weight, format string, args ...any) error {
	return &rule.Error{File: a.Source, Tensor: w.Name, Rule: "LT007", Err: fmt.Errorf(format, args...)}
}

// NameOf returns the name of a module's weight in a binding: that of the
// parameter in the adapter, whatever the base calls it.
func NameOf(m *adapter.Module) string {
	if m.Param == "" {
		return m.Name() + ".weight"
	}
	return m.Name()
}

// resolve finds the weights of a in the base.
func resolve(a *adapter.Adapter, base *checkpoint.Checkpoint, rules adapter.Rules) ([]weight, []adapter.Missing, error) {
	view, err := adapter.NewView(base)
	if err != nil {
		return nil, nil, err
	}
	only := *a // what an adapter replaces does not depend on the base
	only.Replacements, only.Tokens = nil, nil
	res, err := only.Resolve(view, rules)
	if err != nil {
		return nil, nil, err
	}
	updates, missing, err := res.WithTied(&only, view)
	if err != nil {
		return nil, nil, err
	}
	var weights []weight
	for i := range updates {
		u := &updates[i]
		w := weight{update: u}
		w.Name = NameOf(u.Module)
		w.Shape, w.DType, w.tensor = shapeOf(u, view)
		weights = append(weights, w)
	}
	for _, b := range res.Biases {
		w := weight{tensor: b.Tensor}
		w.Name = b.Module.Name() + ".bias"
		if w.Shape, w.DType, _ = view.Shape(b.Tensor); len(w.Shape) != 1 || b.To != adapter.All(w.Shape[0]) {
			continue // the tensor is that of several modules, whose weights are bound
		}
		weights = append(weights, w)
	}
	slices.SortFunc(weights, func(x, y weight) int { return cmpString(x.Name, y.Name) })
	for i := 1; i < len(weights); i++ {
		if weights[i].Name == weights[i-1].Name {
			return nil, nil, &rule.Unsupported{File: a.Source, What: fmt.Sprintf("two modules of the name %q in a binding", weights[i].Name)}
		}
	}
	return weights, missing, nil
}

// digest fills in the digests, the largest weights first and on all
// processors; each weight is one stream.
func digest(ctx context.Context, weights []weight, base *checkpoint.Checkpoint, o Options) error {
	order := make([]int, len(weights))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return volume(weights[j]) - volume(weights[i]) })
	errs := make([]error, runtime.GOMAXPROCS(0))
	var next atomic.Int64
	var group sync.WaitGroup
	for k := range errs {
		group.Go(func() {
			errs[k] = mmap.Guard(func() {
				for ctx.Err() == nil {
					i := int(next.Add(1)) - 1
					if i >= len(order) {
						return
					}
					w := &weights[order[i]]
					h := sha256.New()
					g := gatherer{base: base, write: func(b []byte) {
						h.Write(b)
						if o.Progress != nil {
							o.Progress(int64(len(b)))
						}
					}}
					g.weight(ctx, w)
					h.Sum(w.Digest[:0])
				}
			})
		})
	}
	group.Wait()
	return errors.Join(append(errs, ctx.Err())...)
}

// Bytes returns how much of the base Check and Compute read for an adapter.
func Bytes(a *adapter.Adapter, base *checkpoint.Checkpoint, o Options) int64 {
	weights, _, err := resolve(a, base, o.Names)
	if err != nil {
		return 0
	}
	total := int64(0)
	for _, w := range weights {
		total += int64(volume(w))
	}
	return total
}

func volume(w weight) int {
	n := w.DType.Bits()
	for _, d := range w.Shape {
		n *= d
	}
	return n / 8
}
