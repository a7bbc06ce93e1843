package merge

import (
	"context"
	"slices"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/binding"
	"github.com/loratool/loratool/format/checkpoint"
)

// checkBindings holds what was restored at path, before it gets its name,
// against the base that bound adapters are bound to: LT007. What comes back
// without a record has not the base's bits, so of that only dtypes and shapes
// are compared.
func (u *Unmerge) checkBindings(ctx context.Context, path string) error {
	bound := func(w Weighted) bool { return w.Adapter.Bound() }
	if u.options.AllowBaseMismatch || !slices.ContainsFunc(u.adapters, bound) {
		return nil
	}
	base, err := checkpoint.Open(path, checkpoint.Options{})
	if err != nil {
		return err
	}
	defer base.Close()
	o := binding.Options{Names: u.options.Names}
	check := func(a *adapter.Adapter) error { return binding.Check(ctx, a, base, o) }
	if u.record == nil {
		check = func(a *adapter.Adapter) error { return binding.CheckShapes(a, base, o) }
	}
	for _, w := range u.adapters {
		if err := check(w.Adapter); err != nil {
			return err
		}
	}
	return nil
}
