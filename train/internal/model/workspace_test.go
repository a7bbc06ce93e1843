package model

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/train/internal/backend"
	"github.com/loratool/loratool/train/internal/backend/cpu"
	"github.com/loratool/loratool/train/internal/data"
)

// TestLogitRows checks that the chunks of any number of rows fit where a
// workspace of more rows keeps their logits.
func TestLogitRows(t *testing.T) {
	for _, vocab := range []int{1, 97, 32000, 50257, 128256, 151936, maxLogits - 1, maxLogits, maxLogits + 1, maxSize} {
		m := &Model{Desc: &Desc{Vocab: vocab}}
		most := 0 // of any number of rows so far
		for rows := 1; rows < 5000; rows++ {
			chunk := m.chunkRows(rows)
			if most = max(most, chunk); most > m.logitRows(rows) {
				t.Fatalf("vocabulary of %d: up to %d rows make chunks of %d, there is room for %d", vocab, rows, most, m.logitRows(rows))
			}
			if chunk > 1 && (chunk-1)*vocab >= maxLogits {
				t.Fatalf("vocabulary of %d: chunks of %d rows are more than maxLogits", vocab, chunk)
			}
		}
	}
}

// TestVectors checks which parameters count as vectors, whatever their sizes:
// weight decay leaves them alone, and their files have one dimension.
func TestVectors(t *testing.T) {
	d, err := describe(t, `{"model_type": "gpt2", "n_embd": 4, "n_layer": 1, "n_head": 2, "n_inner": 1, "n_positions": 1, "vocab_size": 1}`)
	if err != nil {
		t.Fatal(err)
	}
	m, err := Open(cpu.New(1), d, randomWeights(d, dtype.F32))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range m.WeightNames(false) {
		if _, err := m.Thaw(n); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(m.AddAdapters(1), m.AddPrefix(1, 0, true)); err != nil {
		t.Fatal(err)
	}
	for _, p := range m.Params() {
		want := strings.HasSuffix(p.Name, ".bias") || strings.Contains(p.Name, "ln_")
		if p.Vector != want {
			t.Errorf("%s of %d×%d: vector is %t", p.Name, p.Value.Rows, p.Value.Cols, p.Vector)
		}
	}
}

// TestLargeVocabulary learns the end of a text so long that the logits of all
// of it would be two chunks, those of the end are one.
func TestLargeVocabulary(t *testing.T) {
	d, err := describe(t, `{"model_type": "llama", "hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1,
		"num_attention_heads": 1, "vocab_size": 128256, "max_position_embeddings": 512, "tie_word_embeddings": true}`)
	if err != nil {
		t.Fatal(err)
	}
	m, err := Open(cpu.New(2), d, randomWeights(d, dtype.F32))
	if err != nil {
		t.Fatal(err)
	}
	const rows, learned = 262, 132
	s := data.Sequence{Tokens: make([]int32, rows), Learn: make([]bool, rows)}
	for i := range s.Tokens {
		s.Tokens[i], s.Learn[i] = int32(i), i >= rows-learned
	}
	if whole, part := m.chunkRows(rows), m.chunkRows(learned); whole >= part {
		t.Fatalf("chunks of %d rows for the text, %d for its end", whole, part)
	}
	l, err := m.Step(data.NewBatch(s), 1, 0, backend.Key{})
	if mean := l.Sum / learned; err != nil || l.Count != learned || !(math.Abs(mean-math.Log(128256)) < 1) {
		t.Errorf("loss of %d tokens is %g each, %v", l.Count, mean, err)
	}
}
