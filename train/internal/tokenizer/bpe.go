package tokenizer

import (
	"fmt"
	"unicode/utf8"
)

// A bpe is a byte-pair encoding: a word starts as its characters, and the
// adjacent pair that was learned first is joined until no pair is left
// (Sennrich et al. 2016).
type bpe struct {
	vocab        map[string]int32
	tokens       map[int32]string
	merges       map[pair]merged
	bytes        *[256]int32 // ids of <0x00> … <0xFF> for characters without a token, nil without byte_fallback
	unknown      int32       // noID: characters without a token are dropped
	fuseUnknown  bool        // one unknown token for a run of such characters
	ignoreMerges bool        // a word that is a token needs no merges
}

type pair struct{ left, right int32 }

type merged struct{ rank, id int32 }

// A symbol is a token of a word that is being merged; symbols form a list.
type symbol struct {
	id         int32
	prev, next int32 // -1 at the ends
	gone       bool  // joined to the one before
}

// A candidate is a pair that could be joined.
type candidate struct {
	merged
	at int32 // index of the left symbol
}

// candidates is a binary heap: the lowest rank first, of equal ones the
// leftmost. (container/heap would allocate for every candidate.)
type candidates []candidate

func (c candidates) less(i, j int) bool {
	return c[i].rank < c[j].rank || c[i].rank == c[j].rank && c[i].at < c[j].at
}

func (c *candidates) push(x candidate) {
	*c = append(*c, x)
	h := *c
	for i := len(h) - 1; i > 0 && h.less(i, (i-1)/2); i = (i - 1) / 2 {
		h[i], h[(i-1)/2] = h[(i-1)/2], h[i]
	}
}

func (c *candidates) pop() candidate {
	h := *c
	first, n := h[0], len(h)-1
	h[0] = h[n]
	h = h[:n]
	for i := 0; ; {
		least := i
		for _, child := range [2]int{2*i + 1, 2*i + 2} {
			if child < n && h.less(child, least) {
				least = child
			}
		}
		if least == i {
			break
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
	*c = h
	return first
}

// encode appends the ids of a word. Its time is n·log n in the word's length.
func (b *bpe) encode(ids []int32, word string) []int32 {
	if b.ignoreMerges {
		if id, ok := b.vocab[word]; ok {
			return append(ids, id)
		}
	}
	symbols := b.symbols(word)
	var queue candidates
	consider := func(at int32) {
		if at < 0 || symbols[at].next < 0 {
			return
		}
		if m, ok := b.merges[pair{symbols[at].id, symbols[symbols[at].next].id}]; ok {
			queue.push(candidate{m, at})
		}
	}
	for i := range symbols {
		consider(int32(i))
	}
	for len(queue) > 0 {
		c := queue.pop()
		left := &symbols[c.at]
		if left.gone || left.next < 0 {
			continue
		}
		right := &symbols[left.next]
		if m, ok := b.merges[pair{left.id, right.id}]; !ok || m.id != c.id {
			continue // the pair changed since it was queued
		}
		left.id, right.gone = c.id, true
		if left.next = right.next; left.next >= 0 {
			symbols[left.next].prev = c.at
		}
		consider(left.prev)
		consider(c.at)
	}
	for _, s := range symbols {
		if !s.gone {
			ids = append(ids, s.id)
		}
	}
	return ids
}

// symbols returns the characters of a word as tokens. A character without one
// becomes its bytes, if each has a token, or the unknown token. The unknown
// token is held back until the next character that has a token, as the
// library does; bytes do not count.
func (b *bpe) symbols(word string) []symbol {
	symbols := make([]symbol, 0, len(word))
	add := func(id int32) {
		symbols = append(symbols, symbol{id: id, prev: int32(len(symbols)) - 1, next: int32(len(symbols)) + 1})
	}
	held := false
	for i := 0; i < len(word); {
		_, n := utf8.DecodeRuneInString(word[i:])
		char := word[i : i+n]
		i += n
		if id, ok := b.vocab[char]; ok {
			if held {
				add(b.unknown)
			}
			held = false
			add(id)
			continue
		}
		if b.byteTokens(char) {
			for k := range len(char) {
				add(b.bytes[char[k]])
			}
			continue
		}
		if b.unknown != noID {
			if held && !b.fuseUnknown {
				add(b.unknown)
			}
			held = true
		}
	}
	if held {
		add(b.unknown)
	}
	if len(symbols) > 0 {
		symbols[len(symbols)-1].next = -1
	}
	return symbols
}

// byteTokens reports whether every byte of char has a token.
func (b *bpe) byteTokens(char string) bool {
	if b.bytes == nil {
		return false
	}
	for i := range len(char) {
		if b.bytes[char[i]] == noID {
			return false
		}
	}
	return true
}

// byteIDs finds the tokens <0x00> … <0xFF>.
func byteIDs(vocab map[string]int32) *[256]int32 {
	var ids [256]int32
	for i := range ids {
		ids[i] = noID
		if id, ok := vocab[fmt.Sprintf("<0x%02X>", i)]; ok {
			ids[i] = id
		}
	}
	return &ids
}
