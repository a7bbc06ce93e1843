package main

import (
	"os"
	"path/filepath"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/merge"
)

// openOptions says where this process finds models.
func openOptions() checkpoint.Options {
	return checkpoint.Options{CacheDirs: checkpoint.CacheDirs(os.Getenv)}
}

// openAdapter opens an adapter by path, or by its id in the local cache.
func openAdapter(path string) (*dialect.File, error) {
	found, err := checkpoint.Locate(path, openOptions())
	if err != nil {
		return nil, err
	}
	return dialect.Open(found)
}

// openWeighted opens adapters given as ADAPTER[=WEIGHT].
func openWeighted(args []string) (adapters []merge.Weighted, closeAll func(), err error) {
	var opened []*dialect.File
	closeAll = func() {
		for _, a := range opened {
			a.Close()
		}
	}
	for _, arg := range args {
		path, weight, err := splitWeight(arg)
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		a, err := openAdapter(path)
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		opened = append(opened, a)
		adapters = append(adapters, merge.Weighted{Adapter: a.Adapter, Weight: weight})
	}
	return adapters, closeAll, nil
}

// idOf is how an adapter names its base: a repository id as it was typed,
// and of a path the last component, which says nothing of whose machine it is
// on (AD043).
func idOf(base string) string {
	abs, err := filepath.Abs(base)
	if _, statErr := os.Stat(base); err != nil || statErr != nil {
		return base
	}
	return filepath.Base(abs)
}
