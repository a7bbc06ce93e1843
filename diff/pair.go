package diff

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/adapter/names"
	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/format/safetensors"
	"github.com/loratool/loratool/internal/lowrank"
	"github.com/loratool/loratool/internal/mmap"
)

// A Pair is a base and a checkpoint tuned from it, matched by their headers.
type Pair struct {
	Added, Removed []string // tensors of one of the two only

	base, tuned *checkpoint.Checkpoint
	model       model
	names       *namer
	common      []match
	joined      [2]map[string]bool // tensors of base and tuned that are matched by their names in memory
	twins       []adapter.Alias    // parameters that share the values of tensors and are not stored
}

// A match is a tensor that both checkpoints have, or a parameter of the model
// in memory that one of them stores in parts: then the tensors say what it
// would be in one.
type match struct {
	name        string // of the tensor, or of the parameter in memory
	base, tuned safetensors.Tensor
	baseShard   int
	tunedShard  int
	laid        [2]*laid // of base and tuned; nil for one tensor as it stands
	why         string   // not "" if it has no elements to compare
}

// unchanged refuses checkpoints that were written or replaced while they were
// read.
func (p *Pair) unchanged() error {
	for _, c := range []*checkpoint.Checkpoint{p.base, p.tuned} {
		if err := c.Unchanged(); err != nil {
			return err
		}
	}
	return nil
}

// NewPair matches two checkpoints. What lies in other tensors in memory, and
// so in an adapter, is matched as it lies there. A head, or another parameter,
// that only the tuned one stores is matched with the base's embedding if the
// base ties them; one that is equal to the tuned embedding counts as tied still.
func NewPair(base, tuned *checkpoint.Checkpoint, rules names.Rules) (*Pair, error) {
	p := &Pair{base: base, tuned: tuned}
	var err error
	if p.model, err = newModel(base); err != nil {
		return nil, err
	}
	if p.names, err = newNamer(p.model, rules); err != nil {
		return nil, err
	}
	for _, c := range []*checkpoint.Checkpoint{base, tuned} {
		if err := refuseQuantized(c); err != nil {
			return nil, err
		}
	}
	if err := p.join(rules); err != nil {
		return nil, err
	}
	for _, a := range adapter.Aliases(p.model) {
		if !a.Stored {
			p.twins = append(p.twins, a)
		}
	}
	for _, name := range tuned.Names() {
		if p.joined[1][name] {
			continue
		}
		m := match{name: name, why: p.names.unknown[name]}
		m.tunedShard, m.tuned, _ = tuned.Lookup(name)
		source := name
		if i := slices.IndexFunc(p.twins, func(a adapter.Alias) bool { return a.Name == name }); i >= 0 {
			if p.sameBytes(name, p.twins[i].Of) {
				continue
			}
			source = p.twins[i].Of
			p.twins = slices.Delete(p.twins, i, i+1)
		}
		var ok bool
		if m.baseShard, m.base, ok = base.Lookup(source); ok {
			p.common = append(p.common, m)
		} else {
			p.Added = append(p.Added, name)
		}
	}
	for _, name := range base.Names() {
		if _, _, ok := tuned.Lookup(name); !ok && !p.joined[0][name] {
			p.Removed = append(p.Removed, name)
		}
	}
	// In the order of the files, for the disk's sake.
	slices.SortStableFunc(p.common, func(x, y match) int {
		return cmp.Or(cmp.Compare(x.tunedShard, y.tunedShard), cmp.Compare(x.tuned.Begin, y.tuned.Begin))
	})
	return p, nil
}

// refuseQuantized refuses weights whose values their own bytes do not tell.
func refuseQuantized(c *checkpoint.Checkpoint) error {
	config, err := c.Config()
	if err != nil || config == nil {
		return err
	}
	if q := config.Quantization(); q != nil {
		return &rule.Unsupported{File: c.Dir(), What: fmt.Sprintf("a delta of weights quantized by %q", q.Method), Hint: "dequantize the checkpoint first"}
	}
	return nil
}

// role tells what a tensor is to an adapter.
func (p *Pair) role(m match) role {
	name := p.names.name(m.name)
	r := roleOf(name, m.base.Shape, m.base.DType, p.model.ModelType(), p.names)
	if m.why != "" {
		r.why = m.why
	}
	return r
}

// module returns the path in memory of the module that a tensor belongs to.
func (p *Pair) module(tensor string) string {
	name := p.names.name(tensor)
	return name[:max(0, strings.LastIndexByte(name, '.'))]
}

// sameBytes reports whether two tensors of the tuned checkpoint are equal.
func (p *Pair) sameBytes(a, b string) (same bool) {
	sa, ta, oka := p.tuned.Lookup(a)
	sb, tb, okb := p.tuned.Lookup(b)
	if !oka || !okb || ta.DType != tb.DType || !slices.Equal(ta.Shape, tb.Shape) {
		return false
	}
	err := mmap.Guard(func() { same = bytes.Equal(p.tuned.Bytes(sa, ta), p.tuned.Bytes(sb, tb)) })
	return same && err == nil
}

// delta returns the whole of a match as one matrix.
func (p *Pair) delta(m match, rows, cols int) *delta {
	d := &delta{base: side{dtype: m.base.DType, laid: m.laid[0]}, tuned: side{dtype: m.tuned.DType, laid: m.laid[1]}, rows: rows, cols: cols}
	if m.laid[0] == nil {
		d.base.bytes = p.base.Bytes(m.baseShard, m.base)
	}
	if m.laid[1] == nil {
		d.tuned.bytes = p.tuned.Bytes(m.tunedShard, m.tuned)
	}
	return d
}

// equal reports whether the two tensors of a match have the same bytes.
func (p *Pair) equal(m match) (same bool, err error) {
	if m.base.DType != m.tuned.DType || !slices.Equal(m.base.Shape, m.tuned.Shape) {
		return false, nil
	}
	if m.laid[0] != nil || m.laid[1] != nil {
		return p.equalParts(m)
	}
	err = mmap.Guard(func() {
		same = bytes.Equal(p.base.Bytes(m.baseShard, m.base), p.tuned.Bytes(m.tunedShard, m.tuned))
	})
	return same, err
}

// bytes returns how much of the files a match is.
func (m match) bytes() int64 { return m.base.End - m.base.Begin + m.tuned.End - m.tuned.Begin }

// matrix sees a shape as a matrix of its first dimension by all others.
func matrix(shape []int) (rows, cols int) {
	rows, cols = 1, 1
	for i, n := range shape {
		if i == 0 && len(shape) > 1 {
			rows = n
		} else {
			cols *= n
		}
	}
	return rows, cols
}

// matches reports whether a name, or the path of the module it belongs to, is
// one of the patterns. Stars match dots too.
func matches(patterns []string, names ...string) bool {
	for _, pattern := range patterns {
		for _, name := range names {
			if lowrank.Match(pattern, name) {
				return true
			}
		}
	}
	return false
}
