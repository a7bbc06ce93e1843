// Package checkpoint opens base models: one safetensors file, a folder of
// shards with or without an index, or an entry of the local Hugging Face
// cache. It checks that shards and index belong together and reads what the
// config says; what the tensors mean is for other packages to say.
package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/format/safetensors"
)

// Options tell where models live.
type Options struct {
	// CacheDirs are folders laid out as the Hugging Face hub cache, in the
	// order of the search. See CacheDirs.
	CacheDirs []string
	// Report gets every broken rule; the zero value is rule.Stop. Shards and
	// entries that break one are left out of the checkpoint.
	Report rule.Report
}

// A Shard is a safetensors file of a checkpoint.
type Shard struct {
	Name string // path inside Dir, with slashes
	File *safetensors.File
}

// A Checkpoint is an open base model. It is safe for concurrent use until
// Close.
type Checkpoint struct {
	dir      string
	shards   []Shard
	index    *Index
	chosen   bool // the index was named, not found
	places   map[string]place
	names    []string
	warnings []*rule.Error
	report   rule.Report
	absent   map[string]bool // shards of the index that could not be opened
}

// A place is where a tensor is: an index into the shards, and one into the
// tensors of the shard.
type place struct{ shard, tensor int32 }

// Open opens a safetensors file, an index, a folder, or a repository of the
// local cache by its id, "org/name" or "org/name@revision". Files and folders
// go before repositories. A broken rule is a *rule.Error.
func Open(path string, o Options) (*Checkpoint, error) {
	path, err := Locate(path, o)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	c := newCheckpoint(o)
	switch {
	case info.IsDir():
		c.dir = path
		err = c.openFolder()
	case strings.HasSuffix(path, indexSuffix):
		c.dir, c.chosen = filepath.Dir(path), true
		err = c.openIndex(filepath.Base(path))
	default:
		err = c.add(filepath.Base(path), path)
	}
	if err == nil {
		err = c.finish()
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func newCheckpoint(o Options) *Checkpoint {
	c := &Checkpoint{report: o.Report, absent: map[string]bool{}}
	if c.report == nil {
		c.report = rule.Stop
	}
	return c
}

// Locate returns path if there is a file or folder of that name, else the
// folder of the repository of that id in the local cache.
func Locate(path string, o Options) (string, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) && isRepoID(path) {
		return findRepo(path, o.CacheDirs)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s: %w", rule.Printable(path), fs.ErrNotExist)
	}
	return path, err
}

// add opens a shard.
func (c *Checkpoint) add(name, path string) error {
	f, err := safetensors.Check(path, c.report)
	if e, ok := errors.AsType[*rule.Error](err); ok {
		err = c.report(e)
	}
	if err != nil || f == nil {
		c.absent[name] = true
		return err
	}
	c.shards = append(c.shards, Shard{name, f})
	return nil
}

// finish makes the table of all tensors and holds it against the index.
func (c *Checkpoint) finish() error {
	n := 0
	for _, s := range c.shards {
		n += len(s.File.Header().Tensors())
	}
	c.places, c.names = make(map[string]place, n), make([]string, 0, n)
	for i, s := range c.shards {
		for k, t := range s.File.Header().Tensors() {
			if other, ok := c.places[t.Name]; ok {
				if err := c.report(fault("SH008", s.File.Path(), t.Name, "also in shard %q", c.shards[other.shard].Name)); err != nil {
					return err
				}
				continue
			}
			c.places[t.Name] = place{int32(i), int32(k)}
			c.names = append(c.names, t.Name)
		}
	}
	slices.Sort(c.names)
	if c.index != nil {
		if err := c.checkIndex(); err != nil {
			return err
		}
	}
	c.checkShards()
	return nil
}

// checkShards warns of hard links and of mixed dtypes.
func (c *Checkpoint) checkShards() {
	if len(c.shards) < 1000 { // SameFile of all pairs
		for i, a := range c.shards {
			for _, b := range c.shards[:i] {
				if os.SameFile(a.File.Info(), b.File.Info()) {
					c.warn("SH018", a.File.Path(), "same file as shard %q", b.Name)
				}
			}
		}
	}
	var first dtype.DType
	seen := false
	for _, s := range c.shards {
		for _, t := range s.File.Header().Tensors() {
			switch {
			case !t.DType.Float():
			case !seen:
				first, seen = t.DType, true
			case t.DType != first:
				c.warn("SH016", s.File.Path(), "holds %s tensors beside %s", t.DType, first)
				return
			}
		}
	}
}

func fault(id rule.ID, file, tensor, format string, args ...any) *rule.Error {
	const most = 1000 // bytes of a name that a message shows
	if len(tensor) > most {
		tensor = tensor[:most] + "…"
	}
	return &rule.Error{File: file, Tensor: tensor, Rule: id, Err: fmt.Errorf(format, args...), Hint: rule.Cure(id)}
}

// warningsPerRule bounds how often one rule is listed.
const warningsPerRule = 20

func (c *Checkpoint) warn(id rule.ID, file, format string, args ...any) {
	c.warnTensor(id, file, "", format, args...)
}

func (c *Checkpoint) warnTensor(id rule.ID, file, tensor, format string, args ...any) {
	n := 0
	for _, w := range c.warnings {
		if w.Rule == id {
			n++
		}
	}
	switch {
	case n < warningsPerRule:
		c.warnings = append(c.warnings, fault(id, file, tensor, format, args...))
	case n == warningsPerRule:
		c.warnings = append(c.warnings, fault(id, file, "", "more of the same are not listed"))
	}
}

// Dir returns the folder of the checkpoint, or "" for a lone file.
func (c *Checkpoint) Dir() string { return c.dir }

// Shards returns the shards in the order of the index, or by name. The slice
// is shared: do not modify it.
func (c *Checkpoint) Shards() []Shard { return c.shards }

// Lookup returns a tensor and the shard that holds it.
func (c *Checkpoint) Lookup(name string) (shard int, t safetensors.Tensor, ok bool) {
	p, ok := c.places[name]
	if !ok {
		return 0, t, false
	}
	return int(p.shard), c.shards[p.shard].File.Header().Tensors()[p.tensor], true
}

// Bytes returns the bytes of a tensor of a shard, see safetensors.File.Bytes.
func (c *Checkpoint) Bytes(shard int, t safetensors.Tensor) []byte {
	return c.shards[shard].File.Bytes(t)
}

// Names returns the names of all tensors, sorted. The slice is shared: do not
// modify it.
func (c *Checkpoint) Names() []string { return c.names }

// Index returns the index, or nil if there is none.
func (c *Checkpoint) Index() *Index { return c.index }

// Size returns the number of bytes of all shards.
func (c *Checkpoint) Size() (n int64) {
	for _, s := range c.shards {
		n += s.File.Size()
	}
	return n
}

// Warnings returns what is legal but suspicious, in the shards as well.
func (c *Checkpoint) Warnings() []*rule.Error {
	all := slices.Clone(c.warnings)
	for _, s := range c.shards {
		all = append(all, s.File.Header().Warnings()...)
	}
	return all
}

// Unchanged returns an error if a shard was written or replaced since it was
// opened.
func (c *Checkpoint) Unchanged() error {
	for _, s := range c.shards {
		if err := s.File.Unchanged(); err != nil {
			return err
		}
	}
	return nil
}

// Inputs returns the paths that an output must not touch: of the folder, and of
// the shards, which may be links to files elsewhere.
func (c *Checkpoint) Inputs() (paths []string) {
	if c.dir != "" {
		paths = append(paths, c.dir)
	}
	for _, s := range c.shards {
		paths = append(paths, s.File.Path())
	}
	return paths
}

// Close closes all shards.
func (c *Checkpoint) Close() error {
	var errs []error
	for _, s := range c.shards {
		errs = append(errs, s.File.Close())
	}
	return errors.Join(errs...)
}
