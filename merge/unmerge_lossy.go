package merge

import (
	"fmt"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/rule"
)

// NewLossyUnmerge plans to subtract adapters from a checkpoint without a
// record. Where several values of the base become a merged one it takes that
// in the middle; how many these are is in the report. What a merge replaces or
// scales cannot be subtracted.
func NewLossyUnmerge(merged *checkpoint.Checkpoint, adapters []Weighted, o UnmergeOptions) (*Unmerge, error) {
	view, err := adapter.NewView(merged)
	if err != nil {
		return nil, err
	}
	u := &Unmerge{merged: merged, adapters: adapters, options: o, base: merged}
	if err := checkInputs(merged, adapters, Options{Names: o.Names}); err != nil {
		return nil, err
	}
	if u.targets, err = gatherTargets(view, adapters, Options{Names: o.Names}); err != nil {
		return nil, err
	}
	for _, name := range u.targets.names {
		if err := subtractable(u.targets.byName[name]); err != nil {
			return nil, err
		}
	}
	for _, s := range merged.Shards() {
		if err := u.addFile(&restoredFile{name: s.Name, size: s.File.Size(), header: s.File.Header()}); err != nil {
			return nil, err
		}
	}
	return u, nil
}

// subtractable refuses what leaves nothing of the base.
func subtractable(t *target) error {
	what := ""
	switch {
	case t.replace != nil:
		what = "a tensor that was replaced"
	case len(t.rows) > 0:
		what = "rows that were replaced"
	}
	for _, u := range t.updates {
		if u.update.Module.Magnitude != nil {
			what = "a tensor that DoRA scaled"
		}
	}
	if what == "" {
		return nil
	}
	return &rule.Unsupported{What: fmt.Sprintf("taking an adapter out of tensor %q, %s, without a record", t.name, what),
		Hint: "use --record with the file that merge --record wrote; without one, go back to the base"}
}
