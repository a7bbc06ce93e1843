package merge

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/rule"
)

// scaledWhenTied are the model types whose forward pass multiplies the hidden
// states when the head is tied, so that untying changes the function.
var scaledWhenTied = map[string]bool{"t5": true, "longt5": true, "switch_transformers": true, "udop": true, "pix2struct": true, "pop2piano": true}

// pair returns the base's tied pair, if it has one.
func (ts *targets) pair() (adapter.Tied, bool) {
	if ts.tied == nil {
		p, ok := adapter.FindTied(ts.base)
		ts.tied = &p
		ts.hasTied = ok
	}
	return *ts.tied, ts.hasTied
}

// tie looks at a tied pair of which the adapters change one side: PEFT's
// forward pass uses the other side unchanged, so the output stores both and
// says in its config that they are not tied. Where both sides change alike, the
// pair stays tied.
func (ts *targets) tie() error {
	pair, ok := ts.pair()
	if !ok {
		return nil
	}
	embedding, head := ts.byName[pair.Embedding], ts.byName[pair.Head]
	if embedding != nil && len(embedding.rows) > 0 && head == nil {
		return nil // trained token rows apply to both sides
	}
	switch {
	case embedding == nil && head == nil:
		return nil
	case embedding != nil && head != nil && sameChange(embedding, head):
		ts.drop(pair.Head)
		ts.notes = append(ts.notes, fmt.Sprintf("%s and %s change alike and stay tied", pair.Embedding, pair.Head))
		return nil
	}
	if scaledWhenTied[ts.base.ModelType()] {
		return &rule.Unsupported{What: fmt.Sprintf("a delta on one side of the tied pair %s and %s of a %s model", pair.Embedding, pair.Head, ts.base.ModelType()),
			Hint: "untie the base first, or leave the module out with --skip"}
	}
	if _, said := ts.base.TieWordEmbeddings(); !said && len(ts.base.Architectures()) == 0 && head == nil {
		ts.notes = append(ts.notes, fmt.Sprintf("no config.json says whether %s is tied to a head; it is merged as it stands", pair.Embedding))
		return nil
	}
	if head == nil && !pair.Stored {
		ts.at(pair.Head).source = pair.Embedding
	}
	ts.untie = true
	note := fmt.Sprintf("%s and %s are no longer tied: only one of them changed, or both differently", pair.Embedding, pair.Head)
	if ts.base.Dir() == "" {
		note += "; the config.json beside the output must say so, tie_word_embeddings false"
	}
	ts.notes = append(ts.notes, note)
	return nil
}

func (ts *targets) drop(name string) {
	delete(ts.byName, name)
	ts.names = slices.DeleteFunc(ts.names, func(n string) bool { return n == name })
}

// sameChange reports whether the embedding and the head get the same values:
// equal replacements, or the factors of ensure_weight_tying, where the head's
// A is the embedding's Bᵀ and its B the embedding's Aᵀ.
func sameChange(embedding, head *target) bool {
	if e, h := embedding.replace, head.replace; e != nil && h != nil {
		return sameValue(e.Value, h.Value)
	}
	if len(embedding.updates) != len(head.updates) || embedding.replace != nil || head.replace != nil {
		return false
	}
	for i, e := range embedding.updates {
		h := head.updates[i]
		me, mh := e.update.Module, h.update.Module
		if e.by != h.by || me.Scaling() != mh.Scaling() || me.Magnitude != nil || mh.Magnitude != nil ||
			!isTranspose(me.B, mh.A) || !isTranspose(me.A, mh.B) {
			return false
		}
	}
	return true
}

// sameValue reports whether two tensors are equal, bit for bit.
func sameValue(a, b adapter.Tensor) bool {
	return a.DType == b.DType && slices.Equal(a.Shape, b.Shape) && bytes.Equal(a.Bytes, b.Bytes)
}

// isTranspose reports whether two matrices have each other's elements, bit for
// bit.
func isTranspose(a, b adapter.Tensor) bool {
	if len(a.Shape) != 2 || len(b.Shape) != 2 || a.Shape[0] != b.Shape[1] || a.Shape[1] != b.Shape[0] || a.DType != b.DType {
		return false
	}
	width := a.DType.Bits() / 8
	rows, cols := a.Shape[0], a.Shape[1]
	for i := range rows {
		for j := range cols {
			x, y := (i*cols+j)*width, (j*rows+i)*width
			if !bytes.Equal(a.Bytes[x:x+width], b.Bytes[y:y+width]) {
				return false
			}
		}
	}
	return true
}
