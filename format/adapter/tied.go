package adapter

import "strings"

// A Tied is an input embedding and the head that shares its values.
type Tied struct {
	Embedding string
	Head      string
	Stored    bool // the base stores the head as well
}

// FindTied finds a tied pair: from tie_word_embeddings, the architecture and
// which tensors there are.
func FindTied(base Base) (Tied, bool) {
	tied, present := base.TieWordEmbeddings()
	if present && !tied {
		return Tied{}, false
	}
	var p Tied
	head := HeadOf(base.Architectures())
	for _, name := range base.Names() {
		path, isWeight := strings.CutSuffix(name, ".weight")
		shape, _, _ := base.Shape(name)
		if !isWeight || len(shape) != 2 {
			continue
		}
		if IsEmbedding(path) && (p.Embedding == "" || len(name) < len(p.Embedding)) {
			p.Embedding = name
		}
		if IsHead(path) || name == head {
			p.Head, p.Stored = name, true
		}
	}
	if p.Embedding == "" || p.Stored && !present {
		return p, false
	}
	if p.Head == "" {
		p.Head = head
	}
	return p, p.Head != ""
}
