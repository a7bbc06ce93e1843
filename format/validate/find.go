package validate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/format/rule"
)

// A unit is one thing to check.
type unit struct {
	path string
	kind Kind
	only []string // files of a numbered set without index; nil: what path says
}

// key tells units apart.
func (u unit) key() string {
	return strings.Join(append([]string{u.path, string(u.kind)}, u.only...), "\x00")
}

const (
	tensorSuffix = ".safetensors"
	indexSuffix  = ".safetensors.index.json"
)

// pickles are the names under which adapters lie as pickles.
var pickles = []string{"adapter_model.bin", "adapter_model.pt"}

// find lists what there is to check below a path: a file stands for itself or
// for the adapter or checkpoint that it is a part of; a folder is walked, but
// for those in it that cannot be read.
func find(path string, o checkpoint.Options) (units []unit, failed []error) {
	found, err := checkpoint.Locate(path, o)
	if err != nil {
		return nil, []error{err}
	}
	info, err := os.Stat(found)
	if err != nil {
		return nil, []error{err}
	}
	if !info.IsDir() {
		return []unit{ofFile(found)}, nil
	}
	root := found + string(filepath.Separator) + "." // a link to a folder is walked too, if it is named
	err = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			return nil
		}
		if err == nil && p != root && strings.HasPrefix(d.Name(), ".") {
			return fs.SkipDir
		}
		var in []unit
		if err == nil {
			in, err = ofFolder(filepath.Clean(p))
		}
		if err != nil {
			failed = append(failed, err)
			return fs.SkipDir
		}
		units = append(units, in...)
		return nil
	})
	if err != nil {
		failed = append(failed, err)
	}
	if len(failed)+len(units) == 0 {
		failed = append(failed, fmt.Errorf("%s: nothing to check: no adapter and no safetensors file", rule.Printable(path)))
	}
	return units, failed
}

func ofFile(path string) unit {
	name := filepath.Base(path)
	switch {
	case name == dialect.ConfigName:
		return unit{path: filepath.Dir(path), kind: Adapter}
	case name == dialect.WeightsName:
		if _, err := os.Stat(filepath.Join(filepath.Dir(path), dialect.ConfigName)); err == nil {
			return unit{path: filepath.Dir(path), kind: Adapter} // the same as by the name of its config
		}
		return unit{path: path, kind: Adapter}
	case slices.Contains(pickles, name):
		return unit{path: path, kind: Adapter}
	case strings.HasSuffix(name, indexSuffix):
		return unit{path: path, kind: Checkpoint}
	}
	return unit{path: path, kind: File}
}

// ofFolder lists what lies in one folder: an adapter; checkpoints with an
// index or with numbered shards; other safetensors files on their own.
func ofFolder(dir string) (units []unit, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrPermission) {
		return nil, err
	}
	var files, indexes []string
	adapter := false
	for _, e := range entries {
		name := e.Name()
		switch {
		case name == dialect.ConfigName || name == dialect.WeightsName || slices.Contains(pickles, name):
			adapter = true // and its weights are no file of their own
		case strings.HasSuffix(name, indexSuffix):
			indexes = append(indexes, name)
		case strings.HasSuffix(name, tensorSuffix) && !strings.HasPrefix(name, "."):
			files = append(files, name)
		}
	}
	if adapter {
		units = append(units, unit{path: dir, kind: Adapter})
	}
	if len(indexes) == 1 {
		return append(units, unit{path: dir, kind: Checkpoint}), nil
	}
	for _, name := range indexes {
		units = append(units, unit{path: filepath.Join(dir, name), kind: Checkpoint})
	}
	if len(indexes) > 1 {
		return units, nil
	}
	if name, ok := checkpoint.SingleName(files); ok { // the others are strays, which it warns of
		units = append(units, unit{path: dir, kind: Checkpoint})
		files = slices.DeleteFunc(files, func(f string) bool { return f == name })
	}
	sets, single := checkpoint.NumberedSets(files)
	for _, set := range sets {
		units = append(units, unit{path: dir, kind: Checkpoint, only: set})
	}
	for _, name := range single {
		units = append(units, unit{path: filepath.Join(dir, name), kind: File})
	}
	return units, nil
}
