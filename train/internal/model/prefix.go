package model

import (
	"fmt"
	"math"

	"github.com/loratool/loratool/train/internal/backend"
	"github.com/loratool/loratool/train/internal/data"
)

// A Prefix is trained rows that stand beside the tokens of every text: Lead
// rows before it, and Infix rows between the prompt and what is learned. With
// one table they are embeddings; with one for each block they replace what
// the block reads at their places (Hu et al. 2021, section 5.1).
type Prefix struct {
	Lead, Infix int
	rows        []*Weight // [Lead+Infix, width] each
}

// AddPrefix makes a prefix of zeros, one table or one for each block.
func (m *Model) AddPrefix(lead, infix int, layers bool) error {
	if lead+infix == 0 {
		return fmt.Errorf("a prefix of no rows")
	}
	p := &Prefix{Lead: lead, Infix: infix}
	n := 1
	if layers {
		n = m.Layers
	}
	for i := range n {
		name := "prefix.embedding"
		if layers {
			name = fmt.Sprintf("prefix.%d", i)
		}
		w, err := m.newWeight(name, lead+infix, m.Width, false)
		if err != nil {
			return err
		}
		p.rows = append(p.rows, w)
	}
	m.prefix = p
	return nil
}

// attentionScale is 1/√dim.
func attentionScale(dim int) float32 { return float32(1 / math.Sqrt(float64(dim))) }

// input lays a batch out with the rows of the prefix, if there is one.
func (m *Model) input(batch *data.Batch, key backend.Key) (in *input, targets []int32) {
	in = &input{ids: batch.Tokens, positions: batch.Positions, key: key}
	targets, starts := batch.Targets, batch.Starts
	if m.prefix != nil {
		in.ids, in.positions, in.virtual, targets, starts = m.prefix.extend(batch)
	}
	for i, s := range starts[:len(starts)-1] {
		n := starts[i+1] - s
		in.segments = append(in.segments, backend.Segment{Query: s, Queries: n, Key: s, Keys: n})
	}
	return in, targets
}

// A row is a position of an extended batch.
type row struct{ id, target, virtual int32 }

// extend puts the rows of the prefix into every sequence. Those of the infix
// stand before the first token that is learned, which the last of them
// predicts.
func (p *Prefix) extend(batch *data.Batch) (ids, positions, virtual, targets []int32, starts []int) {
	starts = []int{0}
	for i, from := range batch.Starts[:len(batch.Starts)-1] {
		for at, r := range p.sequence(batch, from, batch.Starts[i+1]) {
			ids, targets, virtual = append(ids, r.id), append(targets, r.target), append(virtual, r.virtual)
			positions = append(positions, int32(at))
		}
		starts = append(starts, len(ids))
	}
	return ids, positions, virtual, targets, starts
}

func (p *Prefix) sequence(batch *data.Batch, from, to int) (rows []row) {
	trained := func(first, n int) {
		for j := range n {
			rows = append(rows, row{-1, data.Ignore, int32(first + j)})
		}
	}
	trained(0, p.Lead)
	placed := p.Infix == 0
	for i := from; i < to; i++ {
		r := row{batch.Tokens[i], batch.Targets[i], -1}
		first := !placed && r.target >= 0
		if first {
			r.target = data.Ignore
		}
		rows = append(rows, r)
		if first {
			trained(p.Lead, p.Infix)
			rows[len(rows)-1].target = batch.Targets[i]
			placed = true
		}
	}
	return rows
}

// InitPrefix sets the rows of the prefix to what the blocks read for tokens,
// as Li and Liang 2021 (section 7.4) find best: embeddings, or for a prefix of
// every block its activations.
func (m *Model) InitPrefix(tokens []int32) error {
	if m.Hollow() {
		return nil
	}
	p := m.prefix
	m.prefix = nil
	defer func() { m.prefix = p }()
	if len(p.rows) == 1 {
		m.b.Gather(p.rows[0].Mat, m.embed.Mat, tokens)
		return m.b.Err()
	}
	in, _ := m.input(data.NewBatch(data.Sequence{Tokens: tokens, Learn: make([]bool, len(tokens))}), backend.Key{Step: evaluation})
	if err := m.ready(in, true); err != nil {
		return err
	}
	m.forward(m.training, in)
	for i, w := range p.rows {
		m.b.Copy(w.Mat, m.training.layers[i].x.Top(len(tokens)))
	}
	m.training = nil
	return m.b.Err()
}
