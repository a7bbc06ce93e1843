package model

import (
	"fmt"

	"github.com/loratool/loratool/train/internal/backend"
	"github.com/loratool/loratool/train/internal/data"
)

// A Session continues one text: it keeps the keys and values of what it has
// read.
type Session struct {
	m     *Model
	cache []layerCache
	n     int // rows read
}

// NewSession returns a session with room for a text of so many tokens.
func (m *Model) NewSession(tokens int) (*Session, error) {
	if m.prefix != nil {
		tokens += m.prefix.Lead + m.prefix.Infix
	}
	if tokens > m.Context {
		return nil, fmt.Errorf("text of %d tokens, the base takes at most %d", tokens, m.Context)
	}
	s := &Session{m: m}
	for range m.Layers {
		k, err := m.alloc(tokens, m.KVHeads*m.HeadDim)
		if err != nil {
			return nil, err
		}
		v, err := m.alloc(tokens, m.KVHeads*m.HeadDim)
		if err != nil {
			return nil, err
		}
		s.cache = append(s.cache, layerCache{k, v})
	}
	return s, nil
}

// Next reads tokens, at least one, and returns the logits of the one that
// follows. The tokens of the first call are the prompt.
func (s *Session) Next(tokens ...int32) ([]float32, error) {
	m := s.m
	in := &input{ids: tokens, key: backend.Key{Step: evaluation}, cache: s.cache, cached: s.n}
	if m.prefix != nil {
		in.ids, in.virtual = m.prefix.prompt(tokens, s.n == 0)
	}
	rows := len(in.ids)
	if rows == 0 {
		return nil, fmt.Errorf("no tokens to continue")
	}
	if s.n+rows > s.cache[0].k.Rows {
		return nil, fmt.Errorf("text is longer than the %d tokens there is room for", s.cache[0].k.Rows)
	}
	for i := range rows {
		in.positions = append(in.positions, int32(s.n+i))
	}
	in.segments = []backend.Segment{{Queries: rows, Keys: s.n + rows}}
	if err := m.ready(in, false); err != nil {
		return nil, err
	}
	m.forward(m.evaluating, in)
	s.n += rows
	return m.logits(m.evaluating, []int32{int32(rows - 1)}), m.b.Err()
}

// prompt puts the rows of the prefix around the first tokens of a text.
func (p *Prefix) prompt(tokens []int32, first bool) (ids, virtual []int32) {
	if first {
		b := data.Batch{Tokens: tokens, Targets: make([]int32, len(tokens))}
		for i := range b.Targets {
			b.Targets[i] = data.Ignore
		}
		if len(tokens) > 0 {
			b.Targets[len(tokens)-1] = 0 // the infix stands after the last token
		}
		for _, r := range p.sequence(&b, 0, len(tokens)) {
			ids, virtual = append(ids, r.id), append(virtual, r.virtual)
		}
		return ids, virtual
	}
	for range tokens {
		virtual = append(virtual, -1)
	}
	return tokens, virtual
}
