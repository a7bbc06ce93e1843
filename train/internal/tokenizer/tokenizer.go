// Package tokenizer reads tokenizer.json, the file of the Hugging Face
// tokenizers library, and turns text into token ids and back, as that library
// does: byte-level BPE (GPT-2, Llama 3, Qwen, SmolLM) and the SentencePiece
// type (Llama 2, Mistral, Gemma). Parts of the format that it does not know
// are refused by name. Chat templates and training data live elsewhere.
package tokenizer

import (
	"strings"
	"sync"
	"unicode/utf8"
)

// A Tokenizer is an immutable tokenizer. It is safe for concurrent use.
type Tokenizer struct {
	added        addedTokens
	normalize    normalizer   // nil: none
	preTokenize  preTokenizer // nil: none
	model        *bpe
	prefix, tail []int32 // ids that the post-processor puts around a text
	decoder      decoder // nil: tokens are joined by spaces
	size         int     // ids are below it

	mu    sync.RWMutex
	words map[string][]int32 // ids of short words seen before
}

const (
	maxCached    = 1 << 16 // words kept in the cache
	maxCachedLen = 64      // bytes of a word worth keeping
)

// A piece is a part of a text on its way to tokens: text that is still to be
// split, or the id of an added token.
type piece struct {
	text  string
	id    int32 // noID for text
	first bool  // it stands at the very start of the text
}

const noID = -1

// Encode returns the ids of a text. With special, the ids that the file's
// post-processor adds, such as the one that begins a text, stand around them.
// Bytes that are not UTF-8 are read as U+FFFD.
func (t *Tokenizer) Encode(text string, special bool) []int32 {
	text = validUTF8(text)
	var ids []int32
	if special {
		ids = append(ids, t.prefix...)
	}
	for _, p := range t.pieces(text) {
		if p.id != noID {
			ids = append(ids, p.id)
			continue
		}
		ids = t.encodePiece(ids, p)
	}
	if special {
		ids = append(ids, t.tail...)
	}
	return ids
}

// pieces normalizes a text and takes the added tokens out of it: first those
// that are looked for in the text as given, then, within what is left, those
// that are looked for in normalized text.
func (t *Tokenizer) pieces(text string) []piece {
	raw := t.added.raw.split(nil, piece{text, noID, true})
	var all []piece
	for _, p := range raw {
		if p.id != noID {
			all = append(all, p)
			continue
		}
		if t.normalize != nil {
			p.text = t.normalize(p.text)
		}
		all = t.added.normalized.split(all, p)
	}
	return all
}

func (t *Tokenizer) encodePiece(ids []int32, p piece) []int32 {
	if p.text == "" {
		return ids
	}
	if t.preTokenize == nil {
		return t.encodeWord(ids, p.text)
	}
	for _, word := range t.preTokenize([]piece{p}) {
		ids = t.encodeWord(ids, word.text)
	}
	return ids
}

// encodeWord appends the ids of one word, from the cache if it can.
func (t *Tokenizer) encodeWord(ids []int32, word string) []int32 {
	if len(word) > maxCachedLen {
		return t.model.encode(ids, word)
	}
	t.mu.RLock()
	known, ok := t.words[word]
	t.mu.RUnlock()
	if ok {
		return append(ids, known...)
	}
	known = t.model.encode(nil, word)
	t.mu.Lock()
	if len(t.words) < maxCached {
		t.words[strings.Clone(word)] = known
	}
	t.mu.Unlock()
	return append(ids, known...)
}

// Decode returns the text of ids. With skipSpecial, special tokens are left
// out. Ids that no token has are left out too.
func (t *Tokenizer) Decode(ids []int32, skipSpecial bool) string {
	tokens := make([]string, 0, len(ids))
	for _, id := range ids {
		token, ok := t.Token(id)
		if !ok || skipSpecial && t.added.special[token] {
			continue
		}
		tokens = append(tokens, token)
	}
	if t.decoder == nil {
		return strings.Join(tokens, " ")
	}
	return strings.Join(t.decoder(tokens), "")
}

// Token returns the token of an id, as it stands in the file.
func (t *Tokenizer) Token(id int32) (string, bool) {
	if content, ok := t.added.contents[id]; ok {
		return content, true
	}
	token, ok := t.model.tokens[id]
	return token, ok
}

// ID returns the id of a token, spelt as in the file.
func (t *Tokenizer) ID(token string) (int32, bool) {
	if id, ok := t.added.ids[token]; ok {
		return id, true
	}
	id, ok := t.model.vocab[token]
	return id, ok
}

// Special reports whether an id is a special token: as in the library, by its
// text, which that of a token that is normalized may differ from.
func (t *Tokenizer) Special(id int32) bool {
	token, ok := t.Token(id)
	return ok && t.added.special[token]
}

// Size returns a number that every id is below.
func (t *Tokenizer) Size() int { return t.size }

// validUTF8 replaces what is not UTF-8 by U+FFFD: one for each longest prefix
// of a valid sequence, as Rust's String::from_utf8_lossy and the Unicode
// standard (section 3.9, U+FFFD substitution of maximal subparts) have it.
func validUTF8(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			n = maximalSubpart(s[i:])
			b.WriteRune(utf8.RuneError)
		} else {
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

// maximalSubpart returns how many bytes at the start of s, which is not a valid
// sequence, begin one.
func maximalSubpart(s string) int {
	low, high, more := byte(0x80), byte(0xBF), 0
	switch c := s[0]; {
	case c >= 0xC2 && c <= 0xDF:
		more = 1
	case c >= 0xE0 && c <= 0xEF:
		more = 2
		if c == 0xE0 {
			low = 0xA0
		} else if c == 0xED {
			high = 0x9F
		}
	case c >= 0xF0 && c <= 0xF4:
		more = 3
		if c == 0xF0 {
			low = 0x90
		} else if c == 0xF4 {
			high = 0x8F
		}
	}
	n := 1
	for ; n <= more && n < len(s) && s[n] >= low && s[n] <= high; n++ {
		low, high = 0x80, 0xBF
	}
	return n
}
