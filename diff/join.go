package diff

import (
	"bytes"
	"slices"

	"github.com/loratool/loratool/format/adapter/names"
	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/safetensors"
	"github.com/loratool/loratool/internal/mmap"
)

// join matches what is no tensor of one name in both checkpoints: parameters
// that one of them stores in parts, such as the experts of a stack, and tensors
// that the two, written by different versions, call by different names.
func (p *Pair) join(rules names.Rules) error {
	p.joined = [2]map[string]bool{{}, {}}
	config := p.model.Config
	tuned, err := newNamer(model{p.tuned, config}, rules)
	if err != nil {
		return err
	}
	for q, err := range p.names.names.Parameters() {
		if err != nil {
			for _, b := range q.Blocks {
				p.names.unknown[b.Tensor] = err.Error()
			}
			continue
		}
		other, ok, err := tuned.names.Find(q.Name)
		if err != nil || !ok || q.Tensor != "" && q.Tensor == other.Tensor {
			continue // the tensors are matched one by one
		}
		p.match(q, other)
	}
	// A base that was saved with the names of memory: some rules of transformers
	// rename these too, and it ignores what comes out.
	for q, err := range tuned.names.Parameters() {
		_, _, same := p.base.Lookup(q.Tensor)
		shard, t, ok := p.base.Lookup(q.Name)
		if err != nil || q.Tensor == "" || same || !ok || p.joined[1][q.Tensor] || p.joined[0][q.Name] {
			continue
		}
		p.joined[0][q.Name], p.joined[1][q.Tensor] = true, true
		p.names.memory[q.Name] = q.Name
		m := match{name: q.Name, base: t, baseShard: shard}
		m.tunedShard, m.tuned, _ = p.tuned.Lookup(q.Tensor)
		p.common = append(p.common, m)
	}
	return nil
}

// match adds a parameter that both checkpoints have.
func (p *Pair) match(base, tuned names.Parameter) {
	m := match{name: base.Name}
	if base.Tensor != "" {
		m.name = base.Tensor
	} else {
		p.names.memory[m.name] = m.name
	}
	for i, q := range []names.Parameter{base, tuned} {
		for _, b := range q.Blocks {
			p.joined[i][b.Tensor] = true
		}
	}
	var err error
	if m.baseShard, m.base, m.laid[0], err = place(p.base, base); err != nil {
		m.why = err.Error()
	}
	if m.tunedShard, m.tuned, m.laid[1], err = place(p.tuned, tuned); err != nil {
		m.why = err.Error()
	}
	p.common = append(p.common, m)
}

// place finds a parameter in a checkpoint: a tensor, or the layout of its
// parts.
func place(c *checkpoint.Checkpoint, p names.Parameter) (shard int, t safetensors.Tensor, l *laid, err error) {
	if p.Tensor != "" {
		shard, t, _ = c.Lookup(p.Tensor)
		return shard, t, nil, nil
	}
	if l, err = layOut(c, p); len(l.shards) > 0 {
		shard = l.shards[0]
	}
	return shard, l.tensor(p), l, err
}

// equalParts reports whether the tensors that a parameter lies in have the same
// names and bytes in both checkpoints. Where the checkpoints store it in
// different ways, the values are compared later.
func (p *Pair) equalParts(m match) (same bool, err error) {
	a, b := m.laid[0], m.laid[1]
	if a == nil || b == nil || len(a.tensors) != len(b.tensors) {
		return false, nil
	}
	for i := range a.tensors {
		x, y := a.tensors[i], b.tensors[i]
		if x.Name != y.Name || x.DType != y.DType || !slices.Equal(x.Shape, y.Shape) {
			return false, nil
		}
		err = mmap.Guard(func() { same = bytes.Equal(p.base.Bytes(a.shards[i], x), p.tuned.Bytes(b.shards[i], y)) })
		if err != nil || !same {
			return false, err
		}
	}
	return len(a.tensors) > 0, nil
}
