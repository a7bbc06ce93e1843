package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/merge"
)

// unmerge restores the base from the merged checkpoint and compares the files,
// as cmp does.
func (t *tour) unmerge() error {
	t.step("unmerge merged adapter --record merged.rec -o restored")
	start := time.Now()
	r, err := t.unmergeTo("restored")
	if err != nil {
		return err
	}
	printUnmerge(t.out, t.out, r, time.Since(start))
	files := 0
	err = filepath.WalkDir(t.path("base"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(t.path("base"), path)
		if err != nil {
			return err
		}
		same, err := sameBytes(path, filepath.Join(t.path("restored"), rel))
		if err != nil {
			return err
		}
		files++
		return t.check(same, "cmp base/%s restored/%s: no difference", filepath.ToSlash(rel), filepath.ToSlash(rel))
	})
	if err != nil {
		return err
	}
	return t.check(files > r.Files, "%s of the base are back, byte for byte", count(files, "file"))
}

func (t *tour) unmergeTo(out string) (*merge.UnmergeReport, error) {
	merged, err := checkpoint.Open(t.path("merged"), checkpoint.Options{})
	if err != nil {
		return nil, err
	}
	defer merged.Close()
	a, err := openAdapter(t.path("adapter"))
	if err != nil {
		return nil, err
	}
	defer a.Close()
	record, file, err := merge.OpenRecord(t.path("merged.rec"))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	u, err := merge.NewUnmerge(merged, []merge.Weighted{{Adapter: a.Adapter, Weight: 1}}, record, merge.UnmergeOptions{})
	if err != nil {
		return nil, err
	}
	return u.Write(t.ctx, t.path(out))
}

func sameBytes(a, b string) (bool, error) {
	x, err := os.ReadFile(a)
	if err != nil {
		return false, err
	}
	y, err := os.ReadFile(b)
	return bytes.Equal(x, y), err
}
