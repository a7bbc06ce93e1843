package main

import (
	"os"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/dialect"
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
